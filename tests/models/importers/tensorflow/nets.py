"""Small networks of TensorFlow; SavedModels, frozen graphs and outputs of TensorFlow itself are in ``recorded.zip``.

The recording is made by TensorFlow, which is not installed with the tests:

    pip install keras tensorflow-cpu; python -m tests.models.importers.tensorflow.nets
"""

from __future__ import annotations

import io
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

RECORDED = Path(__file__).parent / "recorded.zip"


def unpack(name: str, folder: Path) -> tuple[Path, Path, np.ndarray, np.ndarray]:
    """SavedModel, frozen graph, input rows and outputs of a network."""
    with zipfile.ZipFile(RECORDED) as archive:
        archive.extractall(folder, [each for each in archive.namelist() if each.startswith(f"{name}/")])
    arrays = np.load(folder / name / "rows.npz")
    return folder / name / "saved", folder / name / "frozen.pb", arrays["x"], arrays["y"]


def names() -> list[str]:
    with zipfile.ZipFile(RECORDED) as archive:
        return sorted({name.partition("/")[0] for name in archive.namelist()})


def _cnn(keras: Any) -> Any:
    layers = keras.layers
    image = keras.Input((9, 8, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(image)
    y = layers.DepthwiseConv2D(3, padding="same")(x)
    y = layers.ReLU(max_value=6)(layers.BatchNormalization()(y))
    x = layers.Concatenate()([layers.Add()([x, y]), layers.AveragePooling2D(3, strides=1, padding="same")(x)])
    x = layers.ZeroPadding2D(((1, 0), (0, 2)))(x)
    x = layers.MaxPooling2D(2, strides=2, padding="same")(x)
    x = layers.Dense(6, activation="sigmoid")(x)
    x = layers.LeakyReLU()(layers.Conv2D(5, 2, use_bias=False)(x))
    x = layers.Dense(7, activation="elu")(layers.Flatten()(x))
    return keras.Model(image, layers.Dense(4, activation="softmax")(x))


def _dense(keras: Any) -> Any:
    layers = keras.layers
    rows = keras.Input((6, 4))
    x = layers.Dense(5, activation="tanh")(rows)
    x = layers.Reshape((5, 3, 2))(x)
    x = layers.Conv2D(3, 2, activation="selu")(x)
    x = layers.Permute((2, 3, 1))(layers.BatchNormalization()(x))
    x = layers.GlobalMaxPooling2D()(layers.Rescaling(0.5, offset=-0.25)(x))
    return keras.Model(rows, layers.Dense(3)(x))


def _module(tf: Any) -> Any:
    class Raw(tf.Module):  # type: ignore[misc]
        """Operations that Keras does not use in this way."""

        def __init__(self) -> None:
            super().__init__()
            draw = np.random.default_rng(1)
            self.kernel = tf.Variable(draw.normal(size=(3, 3, 2, 4)).astype("f4"), name="first/kernel")
            self.bias = tf.Variable(draw.normal(size=4).astype("f4"), name="first/bias")
            self.matrix = tf.Variable(draw.normal(size=(5, 24)).astype("f4"), name="head/matrix")
            self.factor = tf.Variable(draw.normal(size=(1, 4, 1, 4)).astype("f4"), name="factor")

        @tf.function
        def __call__(self, x: Any) -> dict[str, Any]:
            x = tf.squeeze(tf.expand_dims(x, 1), 1)
            x = tf.pad(x, [[0, 0], [1, 0], [2, 1], [0, 0]])
            x = tf.nn.relu6(tf.nn.conv2d(x, self.kernel, [1, 1, 2, 1], "VALID") + self.bias)
            x = (2.0 - x) * self.factor / 3.0 + tf.maximum(x, 0.5) - tf.square(x)
            sums = tf.reduce_mean(x, axis=2)  # without the columns
            rows = x.shape[1]
            x = tf.concat([tf.reshape(sums, [-1, rows * 4]), tf.reduce_sum(x, [1, 2]), tf.reduce_max(x, 3)[:, 0, :]], 1)
            x = x[:, :24] * tf.cast(tf.shape(x)[1], tf.float32)
            return {"logits": tf.matmul(x, self.matrix, transpose_b=True), "all": tf.nn.log_softmax(x)}

    return Raw()


def _record() -> None:
    import keras
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    keras.utils.set_random_seed(4)
    draw = np.random.default_rng(5)
    with zipfile.ZipFile(RECORDED, "w", zipfile.ZIP_DEFLATED) as archive, tempfile.TemporaryDirectory() as folder:
        for name, build in (("cnn", _cnn), ("dense", _dense), ("module", None)):
            model = build(keras) if build else _module(tf)
            shape = model.input_shape[1:] if build else (5, 6, 2)
            for layer in model._flatten_layers() if build else ():
                if isinstance(layer, keras.layers.BatchNormalization):
                    layer.set_weights([np.abs(draw.normal(size=each.shape)) + 0.3 for each in layer.get_weights()])
            x = draw.normal(size=(3, *shape)).astype("f4")
            signature = tf.TensorSpec((None, *shape), tf.float32, name="rows")
            call = tf.function(lambda rows, model=model: model(rows)).get_concrete_function(signature)
            if build:
                model.export(f"{folder}/{name}/saved", verbose=False)
            else:
                tf.saved_model.save(model, f"{folder}/{name}/saved", model.__call__.get_concrete_function(signature))
            frozen = convert_variables_to_constants_v2(call)
            y = frozen(tf.constant(x))
            logits = next(each for each in y if each.shape[-1] in (3, 4, 5))
            Path(f"{folder}/{name}/frozen.pb").write_bytes(frozen.graph.as_graph_def().SerializeToString())
            rows = io.BytesIO()
            np.savez_compressed(rows, x=x, y=logits.numpy())
            archive.writestr(f"{name}/rows.npz", rows.getvalue())
            for file in sorted(Path(folder, name).rglob("*")):
                if file.is_file():
                    archive.write(file, str(file.relative_to(folder)))
    sys.stderr.write(f"{RECORDED.stat().st_size:,} bytes, TensorFlow {tf.__version__}\n")


if __name__ == "__main__":
    _record()
