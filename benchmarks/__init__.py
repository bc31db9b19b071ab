"""What osteo-edge costs on the machine it runs on; run from the repository, never installed."""

from osteo_edge.engines.telemetry import switch_off

switch_off()  # of what is imported here, before it is
