"""The backbones that can be trained: one frozen record each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from train.runs.config import ConfigError

_CUT = "@"
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Scaling:
    """What a network is fed: ``grey level (0 to 255) * scale + offset``, one pair a channel.

    With one pair the colour channels of a grey picture are equal, and one channel with the first kernel's sum over them is
    exact. With three pairs they differ, and the network makes the three channels itself: a kernel that took in the differences
    would need a bias, and be wrong at the border, where the padding's zeros come after the scaling.
    """

    scale: tuple[float, ...]
    offset: tuple[float, ...]

    @property
    def channels(self) -> int:
        return len(self.scale)


@dataclass(frozen=True)
class Backbone:
    """A network without its head.

    Attributes:
        name: the name in configurations and bundles; ``name@layer`` is the same network ended after that layer.
        family: the module of ``train.networks.architectures`` that builds it.
        options: the arguments of that module's ``build``.
        stem: the layer whose kernel meets the picture's channels.
        scaling: its input scaling.
        min_side_px: the smallest input.
        source: where it is described.
        weights_options: the arguments of the module's ``read_weights``.
        has_download: whether Keras can download weights of ImageNet.
        features_layer: the layer whose output is the feature map; None for the last one.
    """

    name: str
    family: str
    options: Mapping[str, Any]
    stem: str
    scaling: Scaling
    min_side_px: int
    source: str
    weights_options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    has_download: bool = False
    features_layer: str | None = None


MINUS_ONE_TO_ONE = Scaling((1 / 127.5,), (-1.0,))
ZERO_TO_ONE = Scaling((1 / 255,), (0.0,))
CENTRED = Scaling((1 / 128,), (-127 / 128,))
STANDARDISED = Scaling(
    tuple(1 / (255 * deviation) for deviation in _IMAGENET_DEVIATION),
    tuple(-mean / deviation for mean, deviation in zip(_IMAGENET_MEAN, _IMAGENET_DEVIATION, strict=True)),
)
MEANS_TAKEN_OFF = Scaling((1.0, 1.0, 1.0), (-103.939, -116.779, -123.68))  # blue, green, red, as Caffe orders them


def _application(
    name: str,
    builder: str,
    stem: str,
    scaling: Scaling,
    source: str,
    *,
    min_side_px: int = 32,
    cut_at: str | None = None,
    has_download: bool = True,
    **options: Any,
) -> Backbone:
    """A network of ``keras.applications``."""
    arguments = MappingProxyType({"builder": builder, **options})
    return Backbone(
        name=name,
        family="applications",
        options=arguments,
        stem=stem,
        scaling=scaling,
        min_side_px=min_side_px,
        source=source,
        weights_options=MappingProxyType({**arguments, "cut_at": cut_at}),
        has_download=has_download,
        features_layer=cut_at,
    )


def _mobilenet_v2(width: float) -> Backbone:
    source = "Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018"
    return _application(f"mobilenet_v2_{width}", "MobileNetV2", "Conv1", MINUS_ONE_TO_ONE, source, alpha=width)


def _mobilenet_v3(size: str, *, minimalistic: bool) -> Backbone:
    return _application(
        f"mobilenet_v3_{size}{'_minimalistic' if minimalistic else ''}",
        f"MobileNetV3{size.capitalize()}",
        "conv",
        MINUS_ONE_TO_ONE,
        "Howard et al., Searching for MobileNetV3, ICCV 2019",
        minimalistic=minimalistic,
        include_preprocessing=False,
    )


def _vgg(depth: int) -> Backbone:
    source = "Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015"
    return _application(f"vgg{depth}", f"VGG{depth}", "block1_conv1", MEANS_TAKEN_OFF, source)


def _convnext(
    name: str, source: str, *, depths: tuple[int, ...], widths: tuple[int, ...], keras_name: str | None = None
) -> Backbone:
    return Backbone(
        name=name,
        family="convnext",
        options=MappingProxyType({"depths": depths, "widths": widths}),
        stem="stem_conv",
        scaling=STANDARDISED,
        min_side_px=32,
        source=source,
        weights_options=MappingProxyType({"keras_name": keras_name}),
        has_download=keras_name is not None,
    )


def _own(
    name: str, family: str, stem: str, scaling: Scaling, source: str, *, min_side_px: int = 32, **options: Any
) -> Backbone:
    """A network of this project that nobody publishes weights of in Keras' format."""
    arguments = MappingProxyType(options)
    return Backbone(name, family, arguments, stem, scaling, min_side_px, source, weights_options=arguments)


_CONVNEXT = "Liu et al., A ConvNet for the 2020s, CVPR 2022"
_RESNET = "He et al., Deep Residual Learning for Image Recognition, CVPR 2016"
_RESNET_V2 = "He et al., Identity Mappings in Deep Residual Networks, ECCV 2016"

BACKBONES: tuple[Backbone, ...] = (
    _convnext("convnext_tiny", _CONVNEXT, depths=(3, 3, 9, 3), widths=(96, 192, 384, 768), keras_name="ConvNeXtTiny"),
    _convnext(
        "convnext_atto", f"{_CONVNEXT}; Wightman, PyTorch Image Models, 2022", depths=(2, 2, 6, 2), widths=(40, 80, 160, 320)
    ),
    _vgg(16),
    _vgg(19),
    _application(
        "densenet169",
        "DenseNet169",
        "conv1_conv",
        STANDARDISED,
        "Huang et al., Densely Connected Convolutional Networks, CVPR 2017",
    ),
    _application(
        "inception_v3",
        "InceptionV3",
        "conv2d_0",
        MINUS_ONE_TO_ONE,
        "Szegedy et al., Rethinking the Inception Architecture for Computer Vision, CVPR 2016",
        min_side_px=75,
    ),
    _application(
        "xception",
        "Xception",
        "block1_conv1",
        MINUS_ONE_TO_ONE,
        "Chollet, Xception: Deep Learning with Depthwise Separable Convolutions, CVPR 2017",
        min_side_px=71,
    ),
    _application("resnet50", "ResNet50", "conv1_conv", MEANS_TAKEN_OFF, _RESNET),
    _application("resnet50v2", "ResNet50V2", "conv1_conv", MINUS_ONE_TO_ONE, _RESNET_V2),
    _application(
        "resnet50v2_conv4", "ResNet50V2", "conv1_conv", MINUS_ONE_TO_ONE, _RESNET_V2, cut_at="conv5_block1_preact_relu"
    ),
    _own("resnet18", "resnet18", "stem_conv", STANDARDISED, _RESNET),
    _own(
        "alexnet",
        "alexnet",
        "conv_1",
        STANDARDISED,
        "Krizhevsky, One weird trick for parallelizing convolutional neural networks, 2014",
        min_side_px=63,
    ),
    _mobilenet_v2(1.0),
    _mobilenet_v2(0.35),
    _mobilenet_v3("large", minimalistic=True),
    _mobilenet_v3("small", minimalistic=True),
    _own(
        "efficientnet_lite0",
        "efficientnet_lite",
        "stem_conv",
        CENTRED,
        "Tan and Le, EfficientNet, ICML 2019; EfficientNet-Lite, Google, 2020",
    ),
    _own(
        "small_cnn",
        "small_cnn",
        "block_1_conv",
        ZERO_TO_ONE,
        "this project, after studies that train a network of their own with dropout and an L2 penalty",
        widths=(32, 64, 128, 256),
        dropout=0.25,
        l2=1e-4,
    ),
)


def find_backbone(name: str) -> Backbone:
    """The record of that name, or of ``name@layer``: the network that ends after that layer.

    Raises:
        ConfigError: there is none.
    """
    whole, _, layer = name.partition(_CUT)
    for backbone in BACKBONES:
        if backbone.name == whole:
            return replace(backbone, name=name, features_layer=layer) if layer else backbone
    known = ", ".join(backbone.name for backbone in BACKBONES)
    raise ConfigError(f"unknown backbone {name[:40]!r}; known are {known}")
