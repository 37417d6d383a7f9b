"""Small networks of Caffe that together have every layer, with random weights; what they give is recorded in ``opencv.npz``.

The recording is made by OpenCV's reader of Caffe's files, which is not installed with the tests (OpenCV 5 has none any more):

    pip install 'opencv-python-headless<5'; python -m tests.models.importers.caffe.nets
"""

from __future__ import annotations

import re
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.models.importers.caffe.files import write_weights

RECORDED = Path(__file__).parent / "opencv.npz"
SHAPE = (4, 7, 6)


@dataclass(frozen=True)
class SmallNet:
    """A network of one branch, or as its text says; the last layer's values are flattened.

    Attributes:
        body: layers; ``>`` separates a chain's, each ``TYPE options``.
        shapes: of the blobs of layers by their number in the chain (``l1``) or by their name.
        positive: the input is above zero.
    """

    body: str
    shapes: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)
    positive: bool = False

    @property
    def prototxt(self) -> str:
        head = 'input: "data" input_shape { dim: 2 ' + " ".join(f"dim: {size}" for size in SHAPE) + " }\n"
        if "layer {" in self.body:
            return head + self.body
        text, last = head, "data"
        for number, part in enumerate([*self.body.split(">"), "Flatten"], 1):
            kind, _, options = part.strip().partition(" ")
            text += f'layer {{ name: "l{number}" type: "{kind}" bottom: "{last}" top: "l{number}" {options} }}\n'
            last = f"l{number}"
        return text

    def kinds(self) -> dict[str, str]:
        found = re.findall(r'name: "([^"]+)"\s+type: "([^"]+)"', self.prototxt)
        return {name: kind for name, kind in found if name in self.shapes}

    def weights(self) -> dict[str, list[np.ndarray]]:
        generator = np.random.default_rng(1)
        found = {name: [_draw(generator, shape) for shape in shapes] for name, shapes in self.shapes.items()}
        for name, kind in self.kinds().items():
            if kind == "BatchNorm":
                found[name] = [found[name][0], np.abs(found[name][1]) + 0.5, np.full(1, 3.0, np.float32)]
        return found

    def rows(self) -> np.ndarray:
        values = np.random.default_rng(2).normal(0, 1, (2, *SHAPE)).astype(np.float32)
        return np.abs(values) + np.float32(0.1) if self.positive else values

    def write(self, folder: Path, style: str = "packed") -> tuple[Path, Path]:
        """Weights and text."""
        (folder / "net.prototxt").write_text(self.prototxt)
        weights = write_weights(
            folder / "net.caffemodel", self.weights() or {"none": []}, self.kinds() or {"none": "ReLU"}, style
        )
        return weights, folder / "net.prototxt"


def _draw(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return (generator.standard_normal(shape) * 0.5).astype(np.float32)


def _convolution(options: str, *shapes: tuple[int, ...], kind: str = "Convolution") -> SmallNet:
    return SmallNet(f"{kind} convolution_param {{ {options} }}", {"l1": list(shapes)})


def _pool(options: str) -> SmallNet:
    return SmallNet(f"Pooling pooling_param {{ {options} }}")


def _layer(name: str, kind: str, bottoms: str, tops: str, options: str = "") -> str:
    ends = [f'bottom: "{each}"' for each in bottoms.split()] + [f'top: "{each}"' for each in tops.split()]
    return f'layer {{ name: "{name}" type: "{kind}" {" ".join(ends)} {options} }}\n'


NETS = {
    "convolution": _convolution("num_output: 3 kernel_size: 3", (3, 4, 3, 3), (3,)),
    "convolution-options": _convolution(
        "num_output: 6 kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 0 group: 2", (6, 2, 3, 2), (6,)
    ),
    "convolution-dilated": _convolution(
        "num_output: 3 kernel_size: 3 dilation: 2 pad: 2 bias_term: false", (3, 4, 3, 3)
    ),
    "deconvolution": _convolution(
        "num_output: 3 kernel_size: 4 stride: 2 pad: 1", (4, 3, 4, 4), (3,), kind="Deconvolution"
    ),
    "deconvolution-grouped": _convolution(
        "num_output: 4 kernel_size: 4 stride: 2 pad: 1 group: 4 bias_term: false", (4, 1, 4, 4), kind="Deconvolution"
    ),
    "inner-product": SmallNet("InnerProduct inner_product_param { num_output: 5 }", {"l1": [(5, 168), (5,)]}),
    "max-pool": _pool("pool: MAX kernel_size: 2 stride: 2"),
    "max-pool-padded": _pool("pool: MAX kernel_size: 3 stride: 2 pad: 1"),
    "max-pool-clipped": _pool("pool: MAX kernel_size: 2 stride: 2 pad: 1"),
    "max-pool-sides": _pool("pool: MAX kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1"),
    "average-pool": _pool("pool: AVE kernel_size: 3 stride: 2"),
    "average-pool-padded": _pool("pool: AVE kernel_size: 3 stride: 2 pad: 1"),
    "average-pool-global": _pool("pool: AVE global_pooling: true"),
    "max-pool-global": _pool("pool: MAX global_pooling: true"),
    "relu": SmallNet("ReLU"),
    "leaky-relu": SmallNet("ReLU relu_param { negative_slope: 0.2 }"),
    "prelu": SmallNet("PReLU", {"l1": [(4,)]}),
    "prelu-shared": SmallNet("PReLU prelu_param { channel_shared: true }", {"l1": [(1,)]}),
    "sigmoid": SmallNet("Sigmoid > Power power_param { scale: 2 }"),
    "tanh": SmallNet("TanH"),
    "elu": SmallNet("ELU elu_param { alpha: 0.7 }"),
    "abs": SmallNet("AbsVal"),
    "bnll": SmallNet("BNLL"),
    "power": SmallNet("Power power_param { power: 1.5 scale: 2 shift: 0.5 }", positive=True),
    "exp": SmallNet("Exp exp_param { base: 2 scale: 0.5 shift: 0.25 }"),
    "exp-e": SmallNet("Exp"),
    "log": SmallNet("Log log_param { base: 10 scale: 2 shift: 1 }", positive=True),
    "lrn": SmallNet("LRN lrn_param { local_size: 3 alpha: 0.5 beta: 0.75 }"),
    "lrn-k": SmallNet("LRN lrn_param { local_size: 3 alpha: 0.5 beta: 0.75 k: 2 }"),
    "lrn-within": SmallNet("LRN lrn_param { local_size: 3 alpha: 0.5 beta: 0.75 norm_region: WITHIN_CHANNEL }"),
    "batch-norm": SmallNet("BatchNorm batch_norm_param { eps: 0.001 }", {"l1": [(4,), (4,), (1,)]}),
    "batch-norm-scale": SmallNet(
        "BatchNorm > Scale scale_param { bias_term: true }", {"l1": [(4,), (4,), (1,)], "l2": [(4,), (4,)]}
    ),
    "scale": SmallNet("Scale", {"l1": [(4,)]}),
    "scale-wide": SmallNet("Scale scale_param { axis: 1 num_axes: 3 bias_term: true }", {"l1": [(4, 7, 6), (4, 7, 6)]}),
    "bias": SmallNet("Bias", {"l1": [(4,)]}),
    "mvn": SmallNet("MVN"),
    "mvn-mean": SmallNet("MVN mvn_param { normalize_variance: false across_channels: true }"),
    "normalize": SmallNet(
        "Normalize norm_param { across_spatial: false channel_shared: false scale_filler { type: \"constant\" value: 20 } }",
        {"l1": [(4,)]},
    ),
    "normalize-all": SmallNet("Normalize", {"l1": [(1,)]}),
    "permute": SmallNet("Permute permute_param { order: 0 order: 2 order: 3 order: 1 }"),
    "reshape": SmallNet("Reshape reshape_param { shape { dim: 0 dim: 2 dim: -1 dim: 6 } } > Softmax"),
    "reshape-batch": SmallNet("Reshape reshape_param { shape { dim: 2 dim: -1 } } > ReLU"),
    "flatten-middle": SmallNet("Flatten flatten_param { axis: 2 } > Softmax softmax_param { axis: 2 }"),
    "softmax-inside": SmallNet("Softmax > Power power_param { scale: 3 }"),
    "dropout": SmallNet("Dropout dropout_param { dropout_ratio: 0.4 }"),
    "tile": SmallNet("Tile tile_param { axis: 1 tiles: 3 }"),
    "reduction-sum": SmallNet("Reduction reduction_param { operation: SUM axis: 1 coeff: 0.5 } > Reshape reshape_param { shape { dim: 0 dim: 1 } }"),
    "eltwise": SmallNet(
        _layer("a", "Power", "data", "a", "power_param { scale: 0.5 }")
        + _layer("b", "ReLU", "data", "b")
        + _layer("sum", "Eltwise", "a b", "sum", "eltwise_param { operation: SUM coeff: 1 coeff: -0.5 }")
        + _layer("product", "Eltwise", "sum b", "product", "eltwise_param { operation: PROD }")
        + _layer("largest", "Eltwise", "product a data", "largest", "eltwise_param { operation: MAX }")
        + _layer("out", "Flatten", "largest", "out")
    ),
    "concat-slice": SmallNet(
        _layer("s", "Slice", "data", "s1 s2", "slice_param { axis: 1 slice_point: 1 }")
        + _layer("third", "Slice", "s2", "t1 t2 t3")
        + _layer("c", "Concat", "t3 s1 t1", "c")
        + _layer("c2", "Concat", "s2 c", "c2", "concat_param { axis: 2 }")
        + _layer("sum", "Flatten", "t2", "flat")
        + _layer("end", "Flatten", "c2", "end")
        + _layer("both", "Concat", "flat end", "out")
    ),
    "in-place": SmallNet(
        _layer("conv", "Convolution", "data", "x", "convolution_param { num_output: 4 kernel_size: 1 }")
        + _layer("relu", "ReLU", "x", "x")
        + _layer("split", "Split", "x", "x1 x2")
        + _layer("tanh", "TanH", "x1", "x1")
        + _layer("sum", "Eltwise", "x1 x2", "sum")
        + _layer("out", "Flatten", "sum", "out"),
        {"conv": [(4, 4, 1, 1), (4,)]},
    ),
    "crop": SmallNet(
        _layer("pool", "Pooling", "data", "pool", "pooling_param { kernel_size: 3 stride: 1 }")
        + _layer("crop", "Crop", "data pool", "crop", "crop_param { axis: 2 offset: 1 offset: 2 }")
        + _layer("out", "Flatten", "crop", "out")
    ),
    "squeeze-excite": SmallNet(
        _layer("pool", "Pooling", "data", "pool", "pooling_param { pool: AVE global_pooling: true }")
        + _layer("fc", "InnerProduct", "pool", "fc", "inner_product_param { num_output: 4 }")
        + _layer("gate", "Sigmoid", "fc", "gate")
        + _layer("scaled", "Scale", "data gate", "scaled", "scale_param { axis: 0 }")
        + _layer("out", "Flatten", "scaled", "out"),
        {"fc": [(4, 4), (4,)]},
    ),
}  # fmt: skip


NOT_IN_OPENCV = ("bias", "tile", "reduction-sum", "lrn-k", "log")
"""Layers that it lacks, and options that it ignores: ``k`` of LRN, ``base`` of Log."""


def _record() -> None:
    import cv2

    found = {}
    for name, net in NETS.items():
        if name in NOT_IN_OPENCV:
            continue
        with tempfile.TemporaryDirectory() as folder:
            weights, text = net.write(Path(folder))
            try:
                reader = cv2.dnn.readNetFromCaffe(str(text), str(weights))
                reader.setInput(net.rows())
                found[name] = reader.forward()
            except cv2.error as error:
                sys.stderr.write(f"{name}: OpenCV cannot: {' '.join(str(error).split())[:150]}\n")
    np.savez_compressed(RECORDED, **found)
    sys.stderr.write(f"{len(found)} networks, {RECORDED.stat().st_size} bytes, OpenCV {cv2.__version__}\n")


if __name__ == "__main__":
    _record()
