"""From a folder of labelled radiographs to a measured network: ``python -m train --help``.

A research tool: what it makes is a screening aid under study, not a diagnosis.

Rooms of ``fit``, in the order of the data's way: `config` (settings), `dataset` (labels.csv), `crops` (knees, by the
runtime's own code), `split` (folds by patient), `backbones` and `network`, `regions` (which part of the leg), `linear`
(classifier on frozen features), `augmentation` and `finetune`, `folds` (the nested procedure), `baselines`,
`evaluate` and `conformal`, `figures`, `report` and `run` (what is left behind). `material` and `cache` hold what
the folds share.
"""

from osteo_edge.engines.telemetry import switch_off

switch_off()  # of what is imported here, before it is
