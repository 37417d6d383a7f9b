"""Small networks of Keras that together have every layer; files and outputs of Keras itself are in ``recorded.zip``.

The recording is made by Keras 3, which is not installed with the tests:

    pip install keras tensorflow-cpu; python -m tests.models.importers.keras.nets
"""

from __future__ import annotations

import io
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

RECORDED = Path(__file__).parent / "recorded.zip"


def rows(shape: tuple[int, ...], count: int = 3) -> np.ndarray:
    """Input rows as Keras has them."""
    return np.random.default_rng(5).normal(0, 1, (count, *shape)).astype(np.float32)


def recorded(name: str) -> tuple[bytes, bytes, np.ndarray, np.ndarray]:
    """``.keras``, ``.h5``, input rows and outputs of a network."""
    with zipfile.ZipFile(RECORDED) as archive:
        arrays = np.load(io.BytesIO(archive.read(f"{name}.npz")))
        return archive.read(f"{name}.keras"), archive.read(f"{name}.h5"), arrays["x"], arrays["y"]


def names() -> list[str]:
    with zipfile.ZipFile(RECORDED) as archive:
        return sorted({name.partition(".")[0] for name in archive.namelist()})


def _sequential(shape: tuple[int, ...], *layers: str) -> Callable[[Any], Any]:
    """Layers written as in Keras: ``Conv2D(4, 3)``."""

    def build(keras: Any) -> Any:
        scope = vars(keras.layers)
        return keras.Sequential([keras.Input(shape), *(eval(layer, {**scope}) for layer in layers)])

    return build


def _branches(keras: Any) -> Any:
    layers = keras.layers
    image = keras.Input((7, 6, 3))
    a = layers.Conv2D(4, 3, padding="same", activation="relu", name="left")(image)
    b = layers.Conv2D(4, 1, name="right")(image)
    x = layers.Concatenate()([layers.Add()([a, b]), layers.Multiply()([a, b]), layers.Subtract()([a, b])])
    x = layers.Concatenate(axis=1)([x, layers.Maximum()([x, layers.Average()([x, x])])])
    gate = layers.Dense(12, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.Multiply()([x, gate])
    inner = keras.Sequential([keras.Input((12,)), layers.Dense(5, activation="tanh", name="hidden")], name="inner")
    x = inner(layers.GlobalMaxPooling2D()(x))
    shared = layers.Dense(5, name="twice")
    return keras.Model(image, layers.Softmax()(shared(shared(x))))


NETS: dict[str, Callable[[Any], Any]] = {
    "flatten": _sequential(
        (6, 5, 3), "Conv2D(4, 3, activation='relu')", "MaxPooling2D(2)", "Flatten()", "Dropout(0.3)",
        "Dense(7, activation='elu')", "Dense(4, activation='softmax')",
    ),
    "same": _sequential(
        (9, 8, 3), "Conv2D(4, 3, strides=2, padding='same')", "Conv2D(4, (2, 4), padding='same', activation='swish')",
        "MaxPooling2D(2, strides=2, padding='same')", "AveragePooling2D(3, strides=2, padding='same')", "Flatten()",
        "Reshape((2, 4))", "Flatten()",
    ),
    "depthwise": _sequential(
        (8, 8, 4), "DepthwiseConv2D(3, depth_multiplier=2, strides=2, padding='same', activation='relu6')",
        "SeparableConv2D(5, 3, activation='relu')", "BatchNormalization()", "ReLU(max_value=2, negative_slope=0.1, threshold=0.2)",
        "GlobalAveragePooling2D()",
    ),
    "up": _sequential(
        (4, 3, 2), "Conv2DTranspose(3, 3, strides=2, padding='same')", "Conv2DTranspose(3, 2, strides=3)",
        "Conv2DTranspose(2, 4, strides=2, padding='same')", "UpSampling2D(2)", "UpSampling2D((1, 2), interpolation='bilinear')",
        "ZeroPadding2D(((1, 2), (0, 3)))", "Cropping2D(((0, 1), (2, 1)))", "AveragePooling2D((8, 9))", "Flatten()",
    ),
    "norms": _sequential(
        (5, 4, 3), "Rescaling(0.5, offset=0.1)", "BatchNormalization(scale=False, epsilon=0.01)", "LayerNormalization()",
        "PReLU(shared_axes=[1, 2])", "BatchNormalization(center=False)", "LeakyReLU(negative_slope=0.2)", "Dense(3)", "Flatten()",
    ),
    "activations": _sequential(
        (6,), *(f"Dense(6, activation='{name}')" for name in (
            "gelu", "selu", "softplus", "softsign", "hard_sigmoid", "mish", "leaky_relu", "exponential", "silu")),
        "BatchNormalization()", "ELU(0.7)",
    ),
    "sequence": _sequential(
        (9, 4), "Conv1D(5, 3, padding='causal', dilation_rate=2, activation='relu')", "MaxPooling1D(2, padding='same')",
        "BatchNormalization()", "LSTM(6, return_sequences=True)", "GRU(5, return_sequences=True)", "Bidirectional(LSTM(3))", "Dense(2)",
    ),
    "backwards": _sequential(
        (7, 3), "SeparableConv1D(4, 3)", "ZeroPadding1D(1)", "LSTM(4, go_backwards=True, return_sequences=True)",
        "Bidirectional(GRU(3, return_sequences=True))", "LayerNormalization()", "GlobalMaxPooling1D()",
    ),
    "moved": _sequential(
        (4, 6, 2), "Permute((2, 3, 1))", "Conv2D(3, 2)", "Reshape((5, 3))", "Reshape((-1,))", "Reshape((3, 5, 1))", "Conv2D(2, 2)", "Flatten()", "Softmax()",
    ),
    "volume": _sequential(
        (5, 6, 4, 2), "Conv3D(3, 2, padding='same', activation='relu')", "MaxPooling3D(2)", "Flatten()", "Dense(3)",
    ),
    "branches": _branches,
}  # fmt: skip


def _record() -> None:
    import keras

    keras.utils.set_random_seed(3)
    with zipfile.ZipFile(RECORDED, "w", zipfile.ZIP_DEFLATED) as archive, tempfile.TemporaryDirectory() as folder:
        for name, build in NETS.items():
            model = build(keras)
            for layer in model._flatten_layers():
                if isinstance(layer, keras.layers.BatchNormalization):  # else all means are 0 and all variances 1
                    layer.set_weights([np.abs(rows(each.shape, 1)[0]) + 0.3 for each in layer.get_weights()])
            x = rows(model.input_shape[1:])
            arrays = io.BytesIO()
            np.savez_compressed(arrays, x=x, y=model.predict(x, verbose=0))
            archive.writestr(f"{name}.npz", arrays.getvalue())
            for ending in (".keras", ".h5"):
                model.save(f"{folder}/{name}{ending}")
                archive.write(f"{folder}/{name}{ending}", f"{name}{ending}")
    sys.stderr.write(f"{len(NETS)} networks, {RECORDED.stat().st_size:,} bytes, Keras {keras.__version__}\n")


if __name__ == "__main__":
    _record()
