"""What the studies published, and the recipe by which each of their models is run here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Target = Literal["three_classes", "two_classes"]
Fused = Literal["mean", "gompertz"]


@dataclass(frozen=True)
class Network:
    """One network, trained on the pictures, or on the outlines of the bones instead of them."""

    backbone: str
    target: Target = "three_classes"
    on_mask: bool = False


@dataclass(frozen=True)
class Fusion:
    """Networks of other rows whose scores are combined without anything fitted."""

    kind: Fused
    networks: tuple[Network, ...]


@dataclass(frozen=True)
class OnFeatures:
    """A classifier on features of networks with ImageNet weights, which are not trained."""

    kind: Literal["hierarchical", "covariates", "forest", "stacking"]


Recipe = Network | Fusion | OnFeatures


@dataclass(frozen=True)
class Paper:
    """A study.

    Attributes:
        protocol: how its figures were made, as far as it says.
        caveats: what is known to be wrong or open.
        protocol_here: the configuration of its own protocol, a name in ``train/configs/papers``.
    """

    key: str
    title: str
    protocol: str
    caveats: tuple[str, ...]
    protocol_here: str


@dataclass(frozen=True)
class Row:
    """A model of a study.

    Attributes:
        published: the figure as a share of 1; None where the study gives none for this model.
        published_as: the figure's name and what it was counted on.
        departs: what is done otherwise here for want of data or weights.
    """

    key: str
    paper: str
    model: str
    published: float | None
    published_as: str
    recipe: Recipe
    departs: str = ""


PAPERS: tuple[Paper, ...] = (
    Paper(
        "P1",
        "Application of Deep Neural Networks in Diagnosis of Osteoporosis and Osteopenia (B.Tech report, 2023)",
        "239 knee radiographs, three classes, one 70/30 split (169/70); rescale, shear 0.2, zoom 0.2, horizontal flip; "
        "checkpoint on the 30 %; accuracy.",
        (
            "Every published model has zero recall for normal and for osteoporosis.",
            "The best figure, 0.657 = 46/70, is the share of osteopenia in its validation part: balanced accuracy 1/3.",
            "Its notebook divides grey levels by 255 before a network that scales them itself, and augments validation.",
            "The set holds byte-identical files under different patient numbers, some with different labels.",
        ),
        "published",
    ),
    Paper(
        "P2",
        "Osteoporosis Prediction Using VGG16 and ResNet50",
        "Two classes, 744 files from Kaggle at 224 x 224; VGG16, ResNet50, and both with segmentation; accuracy.",
        (
            "The files are copies and crops of about the same radiographs as P1's, some with contradicting labels.",
            "The classification report is on 846 pictures of 744.",
            "Width, height and file type alone tell the classes apart with AUC 0.77.",
        ),
        "published",
    ),
    Paper(
        "P3",
        "Osteoporosis Diagnosis through Visual Segmentation and Classification: Extensive Review",
        "Augmentation, U-Net segmentation to a mask, VGG-19 or ResNet on the mask, three classes; reviews of ensembles.",
        ("Single-centre sets of 78 to 381 pictures; splits not grouped by patient.",),
        "published",
    ),
    Paper(
        "P4",
        "Osteoporosis Detection in Spine using Deep Learning Methods",
        "DXA pictures of the spine, 70/10/20 split; own CNN, VGG16, ResNet features with a random forest, stacking; accuracy.",
        (
            "Its pictures are not to be had; knee radiographs stand in for them, and the figures cannot be compared directly.",
            "The stack is worse than its best member.",
        ),
        "p4",
    ),
)

_P1_COUNT = "accuracy, 70 radiographs"
_P2_COUNT = "accuracy, 744 files (846 in its report)"
_REVIEWED = "accuracy, reviewed study"
_VGG_2, _RESNET_2 = Network("vgg16", "two_classes"), Network("resnet50", "two_classes")
_LOW = "normal against any low bone density, since the Kaggle labels contradict the T-scores"
_OWN_MASKS = "masks of femur, tibia and fibula around each knee, outlined by our own segmenter; it knows no whole radiographs"

ROWS: tuple[Row, ...] = (
    Row("p1-vgg16", "P1", "VGG16", 0.571, _P1_COUNT, Network("vgg16")),
    Row("p1-vgg19", "P1", "VGG19", 0.471, _P1_COUNT, Network("vgg19")),
    Row("p1-densenet169", "P1", "DenseNet169", 0.571, _P1_COUNT, Network("densenet169")),
    Row("p1-convnext_tiny", "P1", "ConvNeXtTiny", 0.657, _P1_COUNT, Network("convnext_tiny")),
    Row("p1-inception_v3", "P1", "InceptionV3", None, "named as a base; no figure", Network("inception_v3")),
    Row("p2-vgg16", "P2", "VGG16", 0.78, _P2_COUNT, _VGG_2, _LOW),
    Row("p2-resnet50", "P2", "ResNet50", 0.98, _P2_COUNT, _RESNET_2, _LOW),
    Row(
        "p2-combined",
        "P2",
        "VGG16 + ResNet50",
        0.96,
        _P2_COUNT,
        Fusion("mean", (_VGG_2, _RESNET_2)),
        f"mean of both networks' probabilities, without segmentation; {_LOW}",
    ),
    Row(
        "p3-vgg19-mask",
        "P3",
        "VGG19 on the mask",
        None,
        "Dice 0.92 to 0.94 of the masks; no accuracy of its own",
        Network("vgg19", on_mask=True),
        _OWN_MASKS,
    ),
    Row("p3-resnet-mask", "P3", "ResNet on the mask", None, "no figure", Network("resnet50", on_mask=True), _OWN_MASKS),
    Row(
        "p3-alexnet-vgg19",
        "P3",
        "AlexNet + VGG19",
        0.9364,
        _REVIEWED,
        Fusion("mean", (Network("alexnet"), Network("vgg19"))),
        "mean of both networks' probabilities",
    ),
    Row(
        "p3-fuzzy-rank",
        "P3",
        "Fuzzy rank of InceptionV3, Xception, ResNet18",
        0.935,
        _REVIEWED,
        Fusion("gompertz", (Network("inception_v3"), Network("xception"), Network("resnet18"))),
    ),
    Row(
        "p3-hierarchical",
        "P3",
        "Hierarchical: normal or low, then osteopenia or osteoporosis",
        None,
        "no figure",
        OnFeatures("hierarchical"),
        "two linear steps on frozen features",
    ),
    Row(
        "p3-covariates",
        "P3",
        "Picture with age, sex and BMI",
        None,
        "no figure",
        OnFeatures("covariates"),
        "logistic regression on the picture's out-of-fold score and the covariates",
    ),
    Row("p4-own-cnn", "P4", "Own CNN", 0.97, "accuracy, spine DXA pictures", Network("small_cnn")),
    Row("p4-vgg16", "P4", "VGG16", 0.90, "accuracy, spine DXA pictures", Network("vgg16")),
    Row(
        "p4-resnet-forest",
        "P4",
        "ResNet features + random forest",
        0.87,
        "accuracy, spine DXA pictures",
        OnFeatures("forest"),
        "features of ResNet50V2 up to its fourth stage",
    ),
    Row(
        "p4-stacking",
        "P4",
        "Stacking with logistic regression",
        0.93,
        "accuracy, spine DXA pictures",
        OnFeatures("stacking"),
        "members on frozen features, stacked on their out-of-fold scores",
    ),
)


def rows_of(only: tuple[str, ...]) -> tuple[Row, ...]:
    """The rows of these papers or with these keys; all where none is named."""
    return tuple(row for row in ROWS if not only or row.paper in only or row.key in only)


def paper_of(row: Row) -> Paper:
    return next(paper for paper in PAPERS if paper.key == row.paper)
