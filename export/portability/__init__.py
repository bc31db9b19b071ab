"""Does a bundle answer alike on other processors? ``python -m export portability --help``, docs/portability.md.

Rooms: ``records`` (what was measured), ``hidden`` (copies of the engines that see no AVX-512), ``places`` (where a model file
can be run), ``answer`` (the small program that runs there), ``compare`` (the measurement), ``command``. ``prepare_arm64.sh``
makes the emulated machine.
"""
