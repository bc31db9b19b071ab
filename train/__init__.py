"""From radiographs to measured networks: ``python -m train --help``.

A research tool: what it makes is a screening aid under study, not a diagnosis.

Rooms in the order of the way: `data` (what is learnt from), `finder` (where a knee is), `networks` (what is fitted),
`fitting` (how, with classes of few radiographs) and `grading` (how, with grades of many knees), `ensembles` (several members,
and what is known of the person), `judging` (what it is worth). `runs` is what all of them keep, `synthetic` draws radiographs
for tests, `configs` and `results` are what was run and what came of it. `research` holds experiments that no bundle needs.
"""

from osteo_edge.engines.telemetry import switch_off

switch_off()  # of what is imported here, before it is
