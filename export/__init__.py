"""From a training run to a bundle: ``python -m export --help``.

Rooms: ``graph`` (the inference form), ``to_onnx``, ``to_litert``, ``rounding`` and ``quantize`` (int8), ``parity`` (comparison
with the trained network), ``members`` (all files of one network), ``card``, ``bundle_writer``, ``pipeline`` (the whole way).
"""

from osteo_edge.engines.telemetry import switch_off

switch_off()  # of what is imported here, before it is
