"""Copies of inference engines that see a processor without AVX-512, for the processors that have it.

The engines choose their kernels when they are loaded, from two instructions: ``cpuid`` says what the processor has, ``xgetbv``
what the operating system lets a program use. In a copy of their shared objects ``xgetbv`` is replaced by an instruction that
answers "SSE and AVX", as on a system that does not save the AVX-512 registers; engines then leave AVX-512 and AMX alone.
AVX-VNNI needs no more than AVX, so ``cpuid``'s leaf 7, subleaf 1, which tells of it, is answered with zeros as well: else a
newer processor still adds 8-bit products exactly, and stands for no older one. Everything else runs at full speed.
"""

from __future__ import annotations

import re
import shutil
import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from export.errors import ExportError

# xgetbv -> mov al, 7; nop
_READ_ENABLED = bytes.fromhex("0f01d0")
_ONLY_AVX = bytes.fromhex("b00790")
# mov ecx, 1; [one move that saves rbx;] cpuid -> eax, edx and ecx zero. Compilers write leaf 7, subleaf 1, thus; the few other
# leaves that are asked for subleaf 1 describe AMX and how registers are saved.
_ASK_SUBLEAF_1 = re.compile(rb"\xb9\x01\x00\x00\x00((?:[\x48\x49\x4c][\x87\x89].)?)\x0f\xa2", re.DOTALL)
_NOTHING = b"\x31\xc0\x31\xd2\x90\\g<1>\x31\xc9"

_ELF_64_LITTLE = b"\x7fELF\x02\x01"
_LOAD, _EXECUTABLE = 1, 1


@dataclass(frozen=True)
class HiddenEngines:
    """Patched copies.

    Attributes:
        folder: to be the first of ``PYTHONPATH``.
        replaced: package -> number of instructions replaced.
    """

    folder: Path
    replaced: Mapping[str, int]


@contextmanager
def without_avx512(packages: Mapping[str, Path]) -> Iterator[HiddenEngines]:
    """Copy installed packages to a temporary folder and patch their shared objects; the folder is removed at the end.

    Args:
        packages: import name -> folder of the installed package.

    Raises:
        ExportError: a package asks the processor nowhere, so that nothing could be hidden from it.
    """
    with tempfile.TemporaryDirectory(prefix="without-avx512-") as folder:
        replaced = {name: _copy(package, Path(folder) / name) for name, package in packages.items()}
        yield HiddenEngines(Path(folder), replaced)


def hide(library: bytes) -> tuple[bytes, int]:
    """A shared object whose code is told of no AVX-512 and no AVX-VNNI, and the number of instructions replaced.

    Only what the file maps as executable is changed; anything that is not a 64-bit ELF file comes back as it is.
    """
    patched, count = bytearray(library), 0
    for start, end in _executable_ranges(library):
        code, enabled = re.subn(re.escape(_READ_ENABLED), _ONLY_AVX, library[start:end])
        code, asked = _ASK_SUBLEAF_1.subn(_NOTHING, code)
        patched[start:end] = code
        count += enabled + asked
    return bytes(patched), count


def _copy(package: Path, target: Path) -> int:
    # Links are followed: the copy must be changed without changing what it was made of.
    shutil.copytree(package, target, ignore=shutil.ignore_patterns("__pycache__"))
    replaced = 0
    for path in sorted(target.rglob("*.so*")):
        patched, count = hide(path.read_bytes())
        if count:
            path.write_bytes(patched)
        replaced += count
    if not replaced:
        raise ExportError(f"{package.name}: no instruction that asks the processor for AVX-512 was found in its libraries")
    return replaced


def _executable_ranges(library: bytes) -> Iterator[tuple[int, int]]:
    """Offsets of the executable segments in the file (System V ABI, ELF-64 program headers)."""
    if not library.startswith(_ELF_64_LITTLE):
        return
    (offset,) = struct.unpack_from("<Q", library, 0x20)
    size, count = struct.unpack_from("<HH", library, 0x36)
    for index in range(count):
        kind, flags, start, _, _, length = struct.unpack_from("<IIQQQQ", library, offset + index * size)
        if kind == _LOAD and flags & _EXECUTABLE:
            yield start, start + length
