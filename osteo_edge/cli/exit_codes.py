"""The one table of exit codes.

For several pictures the code is that of the gravest answer, in the order output, unreadable, too large, no answer, answered.
What ends the whole run (a bad bundle, a missing engine) outranks every picture.

==== =========================================================================================
code meaning
==== =========================================================================================
0    every picture was answered (reported)
2    wrong usage: unknown option, nothing to do, a covariate that is unknown or out of range, a site file that is not understood
3    a picture is unreadable: missing, empty, not an image, truncated, or a folder without pictures
4    a picture was read but not answered: rejected by a gate, or referred
5    the bundle is missing, damaged, incompatible, or fails its self-test; or an audit log is not the one that was written
6    a picture is over the limits of pixels, bytes or parts
7    an output could not be written; the answers were still printed
8    the inference engine is missing or failed, or the process that decodes untrusted pictures cannot be started
9    too little memory or address space
70   a fault of osteo-edge itself
130  interrupted
143  interrupted by SIGTERM (``bench``, ``watch``, ``kiosk``)
==== =========================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable

from osteo_edge import findings
from osteo_edge.errors import (
    AuditError,
    BundleError,
    CovariateError,
    DecoderError,
    EngineError,
    InputError,
    OsteoEdgeError,
    OutOfMemoryError,
    ReportError,
    SiteError,
    StationError,
    TuningError,
)

ANSWERED = 0
USAGE = 2
UNREADABLE = 3
NO_ANSWER = 4
BUNDLE = 5
TOO_LARGE = 6
OUTPUT = 7
ENGINE = 8
MEMORY = 9
INTERNAL = 70
INTERRUPTED = 130
TERMINATED = 143

_GRAVEST_FIRST = (OUTPUT, UNREADABLE, TOO_LARGE, NO_ANSWER, ANSWERED)


def of_error(error: OsteoEdgeError) -> int:
    """The code for an error that ends the run."""
    return of_class(type(error))


def of_class(kind: type[OsteoEdgeError]) -> int:
    """The code for an error of this class."""
    by_class = (
        (CovariateError, USAGE),
        (SiteError, USAGE),
        (InputError, UNREADABLE),
        (BundleError, BUNDLE),
        (EngineError, ENGINE),
        (DecoderError, ENGINE),
        (OutOfMemoryError, MEMORY),
        (ReportError, OUTPUT),
        (TuningError, OUTPUT),
        (StationError, OUTPUT),
        (AuditError, BUNDLE),
    )
    return next((code for base, code in by_class if issubclass(kind, base)), INTERNAL)


def of_finding(code: str) -> int:
    """The exit code for the first finding of a rejected or referred picture."""
    if code in findings.TOO_LARGE:
        return TOO_LARGE
    return NO_ANSWER if code in findings.UNFIT or code in findings.REFERRED else UNREADABLE


def gravest(codes: Iterable[int]) -> int:
    """The code of a run over several pictures."""
    return min(codes, key=_GRAVEST_FIRST.index, default=ANSWERED)
