"""The papers' report: what four studies published, beside what their models give here, under their protocol and under ours.

Rooms: `table` (the studies, frozen), `outcomes` (what a model gave, and what a difference means), `networks` (rows that train a
network), `features` (rows on frozen features), `copies` (what copies across a split are worth), `report` (the whole), `page`,
`commands`.
"""
