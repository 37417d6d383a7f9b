"""Write scikit-learn's bundled digits (1,797 pictures of 8x8) as PNG files in class folders."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def main() -> None:
    folder = Path(sys.argv[1])
    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / str(label) / f"{number:04d}.png"
        if path.exists():  # an equal file, left alone: its time is part of the dataset's fingerprint
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * (255 / 16)).round().astype(np.uint8)).save(path)


if __name__ == "__main__":
    main()
