"""The networks that come with Firesteel: where each lies and what it is, as plain data that needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class ZooEntry:
    """One network of the zoo.

    Attributes:
        factory: ``MODULE:FACTORY`` that builds it.
        input_shape: it was made for; (channels, height, width) for pictures.
        num_classes: it was made for.
        parameters: with that input and that many classes.
        about: what it is, in a line.
        source: paper or report, and year.
    """

    factory: str
    input_shape: tuple[int, ...]
    num_classes: int
    parameters: int
    about: str
    source: str

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "input_shape": list(self.input_shape), "classes": self.num_classes, "parameters": self.parameters,
            "about": self.about, "source": self.source, "factory": self.factory,
        }  # fmt: skip


def _zoo(factory: str, *facts: Any) -> ZooEntry:
    return ZooEntry(f"firesteel.models.{factory}", *facts)


_IMAGENET = (3, 224, 224)
_CIFAR = (3, 32, 32)
_MNIST = (1, 28, 28)
_VGG = "Simonyan, Zisserman 2014"
_HE = "He et al. 2015"

ENTRIES: Mapping[str, ZooEntry] = MappingProxyType({
    "mlp": _zoo("mlp:Mlp", (4,), 3, 39, "dense layers, for tables", "Skymind's Iris network"),
    "lstm": _zoo("lstm:Lstm", _MNIST, 10, 82_186, "rows of a picture, or a sequence, as steps", "Hochreiter 1997"),
    "lenet": _zoo("lenet:lenet", _MNIST, 10, 431_080, "digits; Caffe's, or variant=lenet5", "LeCun et al. 1998"),
    "cnn": _zoo("cnn:Cnn", _CIFAR, 143, 1_899_245, "small pictures in many classes", "UCC report 2018"),
    "landscape": _zoo("landscape:Landscape", (3, 75, 75), 4, 106_094, "photographs of 75x75", "UPC thesis 2016"),
    "resnet20": _zoo("cifar_resnet:resnet20", _CIFAR, 10, 269_722, "residual, for 32x32", _HE),
    "resnet32": _zoo("cifar_resnet:resnet32", _CIFAR, 10, 464_154, "residual, for 32x32", _HE),
    "resnet44": _zoo("cifar_resnet:resnet44", _CIFAR, 10, 658_586, "residual, for 32x32", _HE),
    "resnet56": _zoo("cifar_resnet:resnet56", _CIFAR, 10, 853_018, "residual, for 32x32", _HE),
    "resnet110": _zoo("cifar_resnet:resnet110", _CIFAR, 10, 1_727_962, "residual, for 32x32", _HE),
    "vit": _zoo("vit:Vit", _CIFAR, 10, 3_722_250, "transformer over patches", "Dosovitskiy et al. 2020"),
    "squeezenet": _zoo("squeezenet:SqueezeNet", _IMAGENET, 1000, 1_248_424, "few parameters; version=1.1", "Iandola 2016"),
    "mobilenet": _zoo("mobilenet:MobileNet", _IMAGENET, 1000, 3_504_872, "little computation", "Sandler et al. 2018"),
    "googlenet": _zoo("googlenet:GoogLeNet", _IMAGENET, 1000, 6_624_904, "inception modules", "Szegedy et al. 2014"),
    "resnet18": _zoo("resnet:resnet18", _IMAGENET, 1000, 11_689_512, "residual; stem=cifar for small pictures", _HE),
    "resnet34": _zoo("resnet:resnet34", _IMAGENET, 1000, 21_797_672, "residual; stem=cifar for small pictures", _HE),
    "resnet50": _zoo("resnet:resnet50", _IMAGENET, 1000, 25_557_032, "residual, with bottlenecks", _HE),
    "resnet101": _zoo("resnet:resnet101", _IMAGENET, 1000, 44_549_160, "residual, with bottlenecks", _HE),
    "resnet152": _zoo("resnet:resnet152", _IMAGENET, 1000, 60_192_808, "residual, with bottlenecks", _HE),
    "alexnet": _zoo("alexnet:AlexNet", _IMAGENET, 1000, 61_100_840, "won ImageNet in 2012", "Krizhevsky 2014"),
    "vgg11": _zoo("vgg:vgg11", _IMAGENET, 1000, 132_863_336, "3x3 convolutions; batch_norm=yes", _VGG),
    "vgg13": _zoo("vgg:vgg13", _IMAGENET, 1000, 133_047_848, "3x3 convolutions; batch_norm=yes", _VGG),
    "vgg16": _zoo("vgg:vgg16", _IMAGENET, 1000, 138_357_544, "3x3 convolutions; batch_norm=yes", _VGG),
    "vgg19": _zoo("vgg:vgg19", _IMAGENET, 1000, 143_667_240, "3x3 convolutions; batch_norm=yes", _VGG),
})  # fmt: skip
"""Name -> network; small ones first, families together."""
