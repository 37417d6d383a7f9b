"""What the files that ``import_models.py`` imports give in their own runtimes; run by it, in a process of its own.

    python benchmarks/import_originals.py RUNTIME INPUT.npy OUTPUT.npy FILE...

INPUT holds rows as the file's network takes them. OpenCV reads Caffe's files up to version 4.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}


def with_onnxruntime(rows: np.ndarray, file: str) -> np.ndarray:
    """Row by row where the file is made for one."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file)
    given = session.get_inputs()[0]
    step = 1 if given.shape[0] == 1 else 500
    return np.concatenate(
        [session.run(None, {given.name: rows[at : at + step]})[0] for at in range(0, len(rows), step)]
    )


def with_opencv(rows: np.ndarray, weights: str, prototxt: str) -> np.ndarray:
    import cv2

    network = cv2.dnn.readNetFromCaffe(prototxt, weights)
    parts = []
    for at in range(0, len(rows), 100):
        network.setInput(rows[at : at + 100])
        parts.append(network.forward().reshape(len(rows[at : at + 100]), -1).copy())
    return np.concatenate(parts)


def with_keras(rows: np.ndarray, file: str) -> np.ndarray:
    import keras

    return np.asarray(keras.models.load_model(file, compile=False).predict(rows, batch_size=500, verbose=0))


def with_keras_layers(rows: np.ndarray, config: str, weights: str) -> np.ndarray:
    """Of a network of Keras 2 that version 3 does not open (names with a slash): its layers are written anew."""
    import h5py
    import keras

    with open(config) as text, h5py.File(weights) as file:
        values: dict[str, Any] = {}
        for layer in json.load(text)["config"]["layers"]:
            name, options = layer["name"], layer["config"]
            if layer["class_name"] == "InputLayer":
                values[name] = first = keras.Input(options["batch_input_shape"][1:])
                continue
            taken = [values[each[0]] for each in layer["inbound_nodes"][0]]
            wanted = ("filters", "kernel_size", "strides", "padding", "activation", "pool_size", "axis", "rate")
            made = getattr(keras.layers, layer["class_name"])(**{key: options[key] for key in wanted if key in options})
            values[name] = made(taken if len(taken) > 1 else taken[0])
            if made.weights:
                made.set_weights([file[name][each.decode()][()] for each in file[name].attrs["weight_names"]])
    return np.asarray(keras.Model(first, values[name]).predict(rows, batch_size=500, verbose=0))


def with_saved_model(rows: np.ndarray, folder: str) -> np.ndarray:
    """By the loader of version 1: that of version 2 does not open the optimizer's state of old files."""
    import tensorflow as tf

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.loader.load(session, ["serve"], folder)
        signature = loaded.signature_def["serving_default"]
        (source,), (target,) = signature.inputs.values(), signature.outputs.values()
        parts = [session.run(target.name, {source.name: rows[at : at + 500]}) for at in range(0, len(rows), 500)]
    return np.concatenate(parts)


def with_frozen_graph(rows: np.ndarray, file: str, source: str, target: str) -> np.ndarray:
    import tensorflow as tf

    definition = tf.compat.v1.GraphDef()
    with open(file, "rb") as data:
        definition.ParseFromString(data.read())
    with tf.Graph().as_default():
        tf.import_graph_def(definition, name="")
        with tf.compat.v1.Session() as session:
            return np.concatenate(
                [session.run(f"{target}:0", {f"{source}:0": rows[at : at + 100]}) for at in range(0, len(rows), 100)]
            )


RUNTIMES: dict[str, Callable[..., np.ndarray]] = {
    "onnxruntime": with_onnxruntime, "opencv": with_opencv, "keras": with_keras, "keras layers": with_keras_layers,
    "tensorflow": with_saved_model, "tensorflow frozen": with_frozen_graph,
}  # fmt: skip


def main() -> None:
    runtime, given, made, *files = sys.argv[1:]
    np.save(made, RUNTIMES[runtime](np.load(given), *files))


if __name__ == "__main__":
    main()
