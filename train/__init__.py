"""From a folder of labelled radiographs to a measured network: ``python -m train --help``.

A research tool: what it makes is a screening aid under study, not a diagnosis.
"""
