"""Every error that osteo-edge raises on purpose.

OsteoEdgeError
|- InputError                  the picture cannot be used; never carries a label
|  |- UnreadableImageError     missing, empty, truncated, damaged, no permission
|  |- ImageTooLargeError       over the limits of pixels, bytes or parts; the pipeline answers it as a rejection
|  |- UnsupportedImageError    a format, shape or data type that is not read here
|  `- QualityRejected          only from Prediction.raise_for_status()
|- CovariateError              what was given of the person cannot be used
|- BundleError                 the model's folder cannot be trusted or used
|  |- BundleNotFoundError
|  |  `- UnknownQuestionError  none of the bundles answers what is to be asked
|  |- ManifestError            names the field
|  |- IncompatibleBundleError  made for another version of this package
|  |- IntegrityError           a file is missing, changed, linked or not listed
|  |  `- SignatureError        missing, of another key, or not of this manifest; or it cannot be checked
|  |- InstallationError        a bundle cannot be put into, or taken out of, the user's folder
|  `- SelfTestError            the bundle does not give its recorded numbers on this device
|- EngineError
|  |- EngineUnavailableError   names the extra to install
|  `- InferenceError
|- DecoderError                no process can be started to decode untrusted pictures in
|- OutOfMemoryError            too little memory or address space
|- StationError                pictures cannot be taken in or answers cannot be put down, for now; nothing is lost by it
|- AuditError                  an audit log is not the one that was written
|- SiteError                   what a site says of its kiosk cannot be read or is not understood
|- TuningError                 a measurement of this device could not be stored or removed
`- ReportError                 an answer could not be written

Errors of other libraries are translated in the module that first meets them. A message is one line:
what is wrong, where, and what to do about it.
"""

from __future__ import annotations

import copyreg
from typing import Any

from osteo_edge.printable import printable

_LONGEST_LINE = 300


def first_line(error: BaseException) -> str:
    """What an error of another library says first, or its name where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:_LONGEST_LINE]


class OsteoEdgeError(Exception):
    """Base of every error of this package.

    It can be copied, pickled and raised across processes, whatever its constructor asks for: what is made again is its state.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception's own way calls the constructor with the message alone. One that asks for more then fails while it is
        # unpickled, and a process pool is broken by it, or waits for ever.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]

    def __str__(self) -> str:
        """One line, in which names from files and manifests cannot steer a terminal."""
        return printable(super().__str__())


class InputError(OsteoEdgeError):
    """A picture that cannot be used.

    Args:
        message: one line for people.
        code: stable machine-readable reason, for example ``"truncated"``.
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class UnreadableImageError(InputError):
    """The file is missing, empty, truncated, damaged or may not be read."""


class UnsupportedImageError(InputError):
    """A format, shape or data type that this package does not read."""


class ImageTooLargeError(InputError):
    """More pixels, bytes or parts than are read; found before anything is decoded."""


class QualityRejected(InputError):  # noqa: N818  it reports a state of the picture, not a fault
    """Raised by ``Prediction.raise_for_status`` alone: the picture was read but is unfit."""


class CovariateError(OsteoEdgeError, ValueError):
    """A covariate that the bundle does not know, or a value that is none or out of its range; the message names it."""


class BundleError(OsteoEdgeError):
    """A bundle that cannot be trusted or used."""


class BundleNotFoundError(BundleError):
    """No bundle of that name or at that path."""


class UnknownQuestionError(BundleNotFoundError):
    """No bundle at hand answers the question."""


class ManifestError(BundleError):
    """The manifest is not what its schema asks for; the message names the field."""


class IncompatibleBundleError(BundleError):
    """The bundle was made for another version of this package."""


class IntegrityError(BundleError):
    """A file of the bundle is missing, changed, linked, or not listed."""


class SignatureError(IntegrityError):
    """The bundle is not proved to come from the holder of a key."""


class InstallationError(BundleError):
    """A bundle that cannot be installed or removed."""


class SelfTestError(BundleError):
    """The bundle does not reproduce its recorded numbers on this device."""


class EngineError(OsteoEdgeError):
    """An inference engine that is missing or failed."""


class EngineUnavailableError(EngineError):
    """The engine is not installed; the message names the extra that installs it."""


class InferenceError(EngineError):
    """The engine refused the model or failed while running it."""


class DecoderError(OsteoEdgeError):
    """No process can be started to decode untrusted pictures in."""


class OutOfMemoryError(OsteoEdgeError):
    """Memory or address space ran out, or a limit of this process leaves too little; the picture may be all right."""


class StationError(OsteoEdgeError):
    """Pictures cannot be taken in, or answers and records of them cannot be put down; the pictures stay where they are."""


class AuditError(OsteoEdgeError):
    """A line of an audit log is missing, changed or no line of one; the message names the first."""


class SiteError(OsteoEdgeError):
    """A site file of the kiosk that is missing, damaged or not understood; the message names the field."""


class TuningError(OsteoEdgeError):
    """What was measured on this device could not be stored or removed."""


class ReportError(OsteoEdgeError):
    """An answer could not be written."""
