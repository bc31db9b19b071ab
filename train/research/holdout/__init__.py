"""One training of any backbone on one patient-grouped split, under a time budget.

Rooms: `config` (settings), `pictures` (what the network is shown), `training` (epochs against the clock), `judgement` (figures
and rivals on the test part), `figures` (the curve), `hold_out` (the whole, step by step), `commands`. A budgeted run is a
sketch, not a verdict: what a backbone can do is judged by cross-validation.
"""
