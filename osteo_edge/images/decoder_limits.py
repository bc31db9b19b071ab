"""What a process that decodes strangers' files may still do: little memory, little time, nothing outside of itself.

Limits of resources hold on every POSIX system. On Linux (x86-64 and arm64) a filter of system calls is added (seccomp, by
Berkeley packet filter): no sockets, no other programs, no writing to or renaming of files, no signals to others. What is
forbidden answers with "not permitted". Elsewhere the limits stand alone.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from mmap import PAGESIZE
from typing import Final

# Of address space, beside what the libraries have: a file of 64 MiB, 256 MiB to decode it, its greys twice, and what decoders
# of DICOM take to be loaded.
WORKING_BYTES: Final = 1 << 30
# Files that modules are read from, and few besides.
_MOST_FILES: Final = 64
# The kernel's own choice of whom to end when memory runs out.
_END_FIRST: Final = b"1000"

# linux/audit.h, linux/seccomp.h, linux/bpf_common.h, linux/prctl.h
_ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_NO_NEW_PRIVILEGES, _SET_FILTER, _BY_FILTER = 38, 22, 2
_LOAD, _EQUALS, _AT_LEAST, _HAS_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _NOT_PERMITTED, _NO_SUCH_CALL, _END = 0x7FFF0000, 0x00050000 | 1, 0x00050000 | 38, 0x80000000
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
# Calls of x86-64's other table of numbers begin here.
_X32: Final = 0x40000000
# O_WRONLY, O_RDWR, O_CREAT, O_TRUNC; CLONE_THREAD
_WRITING: Final = 0o1 | 0o2 | 0o100 | 0o1000
_THREAD: Final = 0x10000

# asm/unistd_64.h and asm-generic/unistd.h. Of what is not there, the architecture has no such call.
_FORBIDDEN: Final = {
    "x86_64": (
        *(41, 53, 49, 50, 43, 288, 42, 44, 46),  # socket socketpair bind listen accept accept4 connect sendto sendmsg
        *(59, 322, 57, 58, 101, 310, 311),  # execve execveat fork vfork ptrace process_vm_readv process_vm_writev
        *(62, 200, 234, 129, 297, 434, 424, 438),  # kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_*
        *(87, 263, 83, 258, 84, 88, 266, 86, 265, 82, 264, 316),  # unlink mkdir rmdir symlink link rename, and their -at
        *(133, 259, 90, 91, 268, 92, 94, 93, 260, 76, 85),  # mknod chmod chown, and their kin; truncate creat
        *(188, 189, 190, 197, 280, 132),  # setxattr and its kin; removexattr utimensat utime
        *(437, 165, 166, 321, 298, 250, 248, 249, 272, 308),  # openat2 mount umount2 bpf perf_event_open key* unshare setns
        *(323, 304, 425, 29, 68, 64, 240),  # userfaultfd open_by_handle_at io_uring_setup shmget msgget semget mq_open
    ),
    "aarch64": (
        *(198, 199, 200, 201, 202, 242, 203, 206, 211),
        *(221, 281, 117, 270, 271),
        *(129, 130, 131, 138, 240, 434, 424, 438),
        *(35, 34, 36, 37, 38, 276),
        *(33, 52, 53, 55, 54, 45),
        *(5, 6, 7, 14, 88),
        *(437, 40, 39, 280, 241, 219, 217, 218, 97, 268),
        *(282, 265, 425, 194, 186, 190, 180),
    ),
}
# Call -> which of its arguments holds the flags.
_OPENING: Final = {"x86_64": {2: 1, 257: 2}, "aarch64": {56: 2}}
_CLONE: Final = {"x86_64": 56, "aarch64": 220}
_CLONE3: Final = 435  # its flags lie in memory, where no filter looks; the C library then takes the older call


@dataclass(frozen=True)
class Limits:
    """Of one decoding process.

    Attributes:
        seconds: for one picture, of the processor's time here and of the wall clock by whoever waits.
        working_bytes: of address space, beside what is taken when the limits are set.
    """

    seconds: float = 30.0
    working_bytes: int = WORKING_BYTES


def confine(limits: Limits) -> bool:
    """Limit this process for good; whether the kernel also filters its system calls."""
    _be_ended_first()
    with suppress(OSError, ValueError):  # an address space that is limited to less already
        resource.setrlimit(resource.RLIMIT_AS, (_address_space() + limits.working_bytes,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (_MOST_FILES, _MOST_FILES))
    return sys.platform == "linux" and _filter_calls(platform.machine())


def allow_seconds(seconds: float) -> None:
    """Of the processor's time from now on; after it the kernel ends the process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime + seconds) + 1, most))


def _address_space() -> int:
    """Bytes that are mapped now; nothing where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[0]) * PAGESIZE
    except (OSError, ValueError, IndexError):
        return 0


def _be_ended_first() -> None:
    with suppress(OSError):  # another system, or one that does not let anybody say so
        setting = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(setting, _END_FIRST)
        os.close(setting)


def _filter_calls(machine: str) -> bool:
    """Not where the architecture's numbers are not known here, or the kernel has no filters."""
    if machine not in _ARCHITECTURES:
        return False
    code = b"".join(_program(machine))
    instructions = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(instructions))
    libc = ctypes.CDLL(None)
    settings = (
        (_NO_NEW_PRIVILEGES, ctypes.c_ulong(1), None),
        (_SET_FILTER, ctypes.c_ulong(_BY_FILTER), ctypes.c_char_p(program)),
    )
    return all(libc.prctl(option, first, second, *[ctypes.c_ulong(0)] * 2) == 0 for option, first, second in settings)


def _program(machine: str) -> Iterator[bytes]:
    yield _instruction(_LOAD, _ARCHITECTURE_AT)
    yield from _unless(_EQUALS, _ARCHITECTURES[machine], _END)
    yield _instruction(_LOAD, _NUMBER_AT)
    if machine == "x86_64":
        yield from _where(_AT_LEAST, _X32, _END)
    for number in _FORBIDDEN[machine]:
        yield from _where(_EQUALS, number, _NOT_PERMITTED)
    yield from _where(_EQUALS, _CLONE3, _NO_SUCH_CALL)
    for number, argument in _OPENING[machine].items():
        yield from _by_flags(number, argument, _where(_HAS_BITS, _WRITING, _NOT_PERMITTED))
    yield from _by_flags(_CLONE[machine], 0, _unless(_HAS_BITS, _THREAD, _NOT_PERMITTED))
    yield _instruction(_RETURN, _ALLOW)


def _by_flags(number: int, argument: int, judged: Iterator[bytes]) -> Iterator[bytes]:
    """Of one call, judge the lower half of an argument; allowed where that does not end it."""
    rest = [_instruction(_LOAD, _ARGUMENTS_AT + 8 * argument), *judged, _instruction(_RETURN, _ALLOW)]
    yield _instruction(_EQUALS, number, 0, len(rest))
    yield from rest


def _where(test: int, value: int, verdict: int) -> Iterator[bytes]:
    yield _instruction(test, value, 0, 1)
    yield _instruction(_RETURN, verdict)


def _unless(test: int, value: int, verdict: int) -> Iterator[bytes]:
    yield _instruction(test, value, 1, 0)
    yield _instruction(_RETURN, verdict)


def _instruction(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    """``struct sock_filter``: how many instructions to pass over where the test holds, and where it does not."""
    return struct.pack("HBBI", code, then, otherwise, value)
