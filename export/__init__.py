"""From a training run to a bundle: ``python -m export --help``. ARCHITECTURE.md lists the rooms."""

from osteo_edge.engines.telemetry import switch_off

switch_off()  # of what is imported here, before it is
