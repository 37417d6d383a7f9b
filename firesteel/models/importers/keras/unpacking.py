"""Takes the weights out of an HDF5 file, in a process of its own: ``python -c THIS FILE.h5 FOLDER MEGABYTES``.

libhdf5 does not stand damaged files: some keep it busy for ever, in C, where no signal of Python's is heard, and some take all
memory. So this program, which imports nothing of Firesteel, reads them under limits, and its end is its parent's to watch.
It leaves ``arrays.f32``, all floating point arrays one behind the other, and ``index.json``. Status 3 and a line on
standard error say that the file cannot be read.
"""

import json
import os
import resource
import sys

MAX_EXPANSION = 100
"""Bytes out of a byte in: weights do not compress so well, bombs do."""
FREE_BYTES = 1 << 20
MAX_DEPTH = 32


class Unreadable(Exception):
    """Why a file is refused."""


def text(value):  # type: ignore[no-untyped-def]
    """An attribute of HDF5, which may be bytes."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def walk(group, prefix, depth=0):  # type: ignore[no-untyped-def]
    """Names and arrays of floating point numbers; links to other files are refused, others are not followed."""
    import h5py

    if depth > MAX_DEPTH:
        raise Unreadable(f"groups within groups, more than {MAX_DEPTH} deep")
    for name in group:
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise Unreadable(f"{prefix}{name} leads to another file, which is not followed")
        if not isinstance(link, h5py.HardLink):
            continue
        item = group[name]
        if isinstance(item, h5py.Group):
            yield from walk(item, f"{prefix}{name}/", depth + 1)
        elif isinstance(item, h5py.Dataset) and item.dtype.kind == "f":
            yield f"{prefix}{name}", checked(f"{prefix}{name}", item)


def checked(name, item):  # type: ignore[no-untyped-def]
    """An array whose values are in the file, and as many as it says."""
    if item.external or item.is_virtual:
        raise Unreadable(f"{name} lies in another file, which is not followed")
    stored = item.id.get_storage_size()
    if item.nbytes > MAX_EXPANSION * stored + FREE_BYTES:
        raise Unreadable(f"{name} announces {item.nbytes:,} bytes and has {stored:,}")
    return item


def unpack(file, folder):  # type: ignore[no-untyped-def]
    """Write the arrays of an open file, and what is where."""
    import numpy as np

    arrays: dict[str, list[object]] = {}
    layers: dict[str, list[str]] = {}
    index: dict[str, object] = {"config": None, "version": "", "arrays": arrays, "layers": layers}
    index["optimizer"] = "optimizer_weights" in file
    if "model_config" in file.attrs:
        index["config"] = text(file.attrs["model_config"])
        index["version"] = text(file.attrs.get("keras_version", b""))
    root = file.get("model_weights", file)
    index["by_path"] = "layers" in root and "layer_names" not in root.attrs
    for name in map(text, root.attrs.get("layer_names", ())):
        if name in root and "weight_names" in root[name].attrs:
            layers[name] = [text(each) for each in root[name].attrs["weight_names"]]
    with open(os.path.join(folder, "arrays.f32"), "wb") as out:
        for name, item in walk(root, ""):
            values = np.empty(item.shape, np.float32)
            if values.size:
                item.read_direct(values)
            arrays[name] = [out.tell(), list(item.shape)]
            out.write(values.data if values.size else b"")
    with open(os.path.join(folder, "index.json"), "w", encoding="ascii") as out:
        json.dump(index, out)


def main(path, folder, megabytes):  # type: ignore[no-untyped-def]
    """What this process does: unpack a file into a folder, with so much memory."""
    import h5py

    room = int(megabytes) << 20
    with open("/proc/self/statm") as sizes:
        used = int(sizes.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + room, used + room))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with h5py.File(path, "r") as file:
            unpack(file, folder)
    except Unreadable as error:
        sys.exit(_refused(str(error)))
    except Exception as error:  # h5py answers damage with almost any of them
        reason = str(error).strip().splitlines()
        sys.exit(_refused(reason[0][:200] if reason else type(error).__name__))


def _refused(reason):  # type: ignore[no-untyped-def]
    sys.stderr.write(reason.encode("ascii", "backslashreplace").decode() + "\n")
    return 3


if __name__ == "__main__":
    main(*sys.argv[1:])
