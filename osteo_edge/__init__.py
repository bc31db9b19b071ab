"""osteo-edge: screening of knee radiographs on cheap machines. For research, not a diagnosis.

Importing this package loads neither numpy, OpenCV nor an engine; the public names do so when first used.
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

TYPE_CHECKING = False  # type checkers know better; the command line has signals to take before it imports more
if TYPE_CHECKING:
    from typing import Any

    from osteo_edge.answered import Answer, Knee
    from osteo_edge.bundle import Bundle, embedded_bundles, installed_bundles, open_bundle
    from osteo_edge.errors import (
        AuditError,
        BundleError,
        BundleNotFoundError,
        CovariateError,
        DecoderError,
        EngineError,
        EngineUnavailableError,
        ImageTooLargeError,
        IncompatibleBundleError,
        InferenceError,
        InputError,
        InstallationError,
        IntegrityError,
        ManifestError,
        OsteoEdgeError,
        OutOfMemoryError,
        QualityRejected,
        ReportError,
        SelfTestError,
        SignatureError,
        SiteError,
        StationError,
        TuningError,
        UnknownQuestionError,
        UnreadableImageError,
        UnsupportedImageError,
    )
    from osteo_edge.installation import install_bundle, remove_bundle
    from osteo_edge.labels import BodyPart, BoneStatus, Laterality, Mode, Status
    from osteo_edge.prediction import Prediction
    from osteo_edge.predictor import OsteoPredictor
    from osteo_edge.questions import Question
    from osteo_edge.radiograph import Radiograph

_HOMES = {
    "Answer": "answered",
    "AuditError": "errors",
    "Bundle": "bundle",
    "BodyPart": "labels",
    "BoneStatus": "labels",
    "BundleError": "errors",
    "BundleNotFoundError": "errors",
    "CovariateError": "errors",
    "DecoderError": "errors",
    "EngineError": "errors",
    "EngineUnavailableError": "errors",
    "ImageTooLargeError": "errors",
    "IncompatibleBundleError": "errors",
    "InferenceError": "errors",
    "InputError": "errors",
    "InstallationError": "errors",
    "IntegrityError": "errors",
    "Knee": "answered",
    "Laterality": "labels",
    "Mode": "labels",
    "ManifestError": "errors",
    "OsteoEdgeError": "errors",
    "OsteoPredictor": "predictor",
    "OutOfMemoryError": "errors",
    "Prediction": "prediction",
    "QualityRejected": "errors",
    "Question": "questions",
    "Radiograph": "radiograph",
    "ReportError": "errors",
    "SelfTestError": "errors",
    "SignatureError": "errors",
    "SiteError": "errors",
    "StationError": "errors",
    "Status": "labels",
    "TuningError": "errors",
    "UnknownQuestionError": "errors",
    "UnreadableImageError": "errors",
    "UnsupportedImageError": "errors",
    "embedded_bundles": "bundle",
    "install_bundle": "installation",
    "installed_bundles": "bundle",
    "open_bundle": "bundle",
    "remove_bundle": "installation",
}

__all__ = [
    "Answer",
    "AuditError",
    "BodyPart",
    "BoneStatus",
    "Bundle",
    "BundleError",
    "BundleNotFoundError",
    "CovariateError",
    "DecoderError",
    "EngineError",
    "EngineUnavailableError",
    "ImageTooLargeError",
    "IncompatibleBundleError",
    "InferenceError",
    "InputError",
    "InstallationError",
    "IntegrityError",
    "Knee",
    "Laterality",
    "ManifestError",
    "Mode",
    "OsteoEdgeError",
    "OsteoPredictor",
    "OutOfMemoryError",
    "Prediction",
    "QualityRejected",
    "Question",
    "Radiograph",
    "ReportError",
    "SelfTestError",
    "SignatureError",
    "SiteError",
    "StationError",
    "Status",
    "TuningError",
    "UnknownQuestionError",
    "UnreadableImageError",
    "UnsupportedImageError",
    "__version__",
    "embedded_bundles",
    "install_bundle",
    "installed_bundles",
    "open_bundle",
    "remove_bundle",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
