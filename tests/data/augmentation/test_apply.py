"""Geometry against numpy and Pillow, colours against Pillow, and rows that do not depend on their batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageFilter

from firesteel.data.augmentation import BUILT_IN, Policy, draw, step_keys
from firesteel.data.augmentation.apply import apply, as_bytes
from firesteel.data.augmentation.operations import OPERATIONS

EVERY_OPERATION = [f"{name}:probability=0.6" for name in OPERATIONS]


def noise(rows: int = 8, shape: tuple[int, int, int] = (3, 16, 16), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, *shape), dtype=np.uint8)


def smooth(height: int = 48, width: int = 64) -> np.ndarray:
    """A picture without steps, so that interpolations of different kinds agree."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [
        128 + 100 * np.sin(x / 9 + y / 23),
        128 + 100 * np.cos(y / 7 - x / 31),
        (x * 2 + y * 2) % 256 * 0 + x * 2 + y,
    ]
    return np.stack(planes).clip(0, 255).astype(np.uint8)


def augmented(images: np.ndarray, *operations: str, seed: int = 3, **policy: str) -> np.ndarray:
    """float32, as training sees them."""
    chosen = Policy.of({"operations": list(operations), **policy})
    stages = draw(chosen, step_keys(seed, 0, np.arange(len(images))), images.shape[1:])
    return apply(stages, torch.from_numpy(images)).numpy()


def rounded(images: np.ndarray, *operations: str, **options: str) -> np.ndarray:
    return as_bytes(torch.from_numpy(augmented(images, *operations, **options)))


# -- exact ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 28, 28), (3, 9, 12)], ids=str)
@pytest.mark.parametrize(("axis", "dim"), [("horizontal", 3), ("vertical", 2)])
def test_flips_are_numpys(axis, dim, shape):
    images = noise(shape=shape)
    np.testing.assert_array_equal(rounded(images, f"flip:axis={axis}"), np.flip(images, dim))


@pytest.mark.parametrize("degrees", [90, 180, 270])
@pytest.mark.parametrize("size", [16, 33, 180])
def test_right_angles_are_numpys(degrees, size):
    """Anticlockwise, to the pixel."""
    images = noise(2, (3, size, size))
    expected = np.rot90(images, degrees // 90, axes=(2, 3))
    np.testing.assert_array_equal(rounded(images, f"rotate90:degrees=[{degrees}]"), expected)
    np.testing.assert_array_equal(
        rounded(
            images, f"rotate:degrees=[{degrees % 360 - 360 * (degrees > 180)},{degrees % 360 - 360 * (degrees > 180)}]"
        ),
        expected,
    )


def test_a_random_flip_is_one_of_two_and_a_random_turn_one_of_three():
    """Over many rows each about equally often."""
    images = np.repeat(noise(1), 600, axis=0)
    flips = rounded(images, "flip")
    horizontal = (flips == np.flip(images, 3)).all(axis=(1, 2, 3))
    assert (horizontal | (flips == np.flip(images, 2)).all(axis=(1, 2, 3))).all()
    assert 240 < horizontal.sum() < 360
    turned = rounded(images, "rotate90")
    counts = [(turned == np.rot90(images, quarters, (2, 3))).all(axis=(1, 2, 3)).sum() for quarters in (1, 2, 3)]
    assert sum(counts) == 600
    assert min(counts) > 150


@pytest.mark.parametrize("border", ["reflect", "edge", "black"])
def test_a_crop_is_a_window_of_the_padded_picture(border):
    """Whole pixels; every position of the window comes."""
    mode = {"reflect": "symmetric", "edge": "edge", "black": "constant"}[border]
    image = noise(1, (3, 8, 8))
    padded = np.pad(image[0], ((0, 0), (2, 2), (2, 2)), mode=mode)
    windows = {padded[:, y : y + 8, x : x + 8].tobytes() for y in range(5) for x in range(5)}
    found = {each.tobytes() for each in rounded(np.repeat(image, 400, axis=0), f"crop:padding=2,border={border}")}
    assert found == windows


@given(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 1000))
def test_probability_0_and_1(name, seed):
    """With 0 no row changes in a single bit; with 1 every row is drawn for."""
    images = noise(5)
    assert draw(Policy.of([f"{name}:probability=0"]), step_keys(seed, 0, np.arange(5)), (3, 16, 16)) == []
    np.testing.assert_array_equal(augmented(images, f"{name}:probability=0", seed=seed), images)
    (stage,) = draw(Policy.of([f"{name}:probability=1"]), step_keys(seed, 0, np.arange(5)), (3, 16, 16))
    assert stage.rows.tolist() == [0, 1, 2, 3, 4]


def test_probability_is_the_share_of_rows():
    stages = draw(Policy.of(["flip:probability=0.3"]), step_keys(0, 0, np.arange(20_000)), (3, 8, 8))
    assert len(stages[0].rows) == pytest.approx(6000, abs=200)


# -- geometry by a reference ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [7, -4.5, 30])
@pytest.mark.parametrize("size", [(64, 64), (48, 64)], ids=str)
def test_a_rotation_is_pillows(degrees, size):
    """Anticlockwise in pixels, black outside."""
    from scipy.ndimage import binary_erosion

    image = smooth(*size)
    expected = Image.fromarray(image.transpose(1, 2, 0)).rotate(degrees, Image.Resampling.BILINEAR)
    found = augmented(image[None], f"rotate:degrees=[{degrees},{degrees}],border=black")[0].transpose(1, 2, 0)
    inside = np.asarray(Image.new("L", size[::-1], 255).rotate(degrees, Image.Resampling.BILINEAR)) == 255
    inside = binary_erosion(inside, iterations=2)  # Pillow repeats the outermost half pixel, we blend it with black
    assert inside.mean() > 0.5
    assert np.abs(found - np.asarray(expected).astype(float))[inside].max() < 3
    outside = np.asarray(Image.new("L", size[::-1], 255).rotate(degrees, Image.Resampling.NEAREST)) == 0
    assert found[outside].mean() < 20


@pytest.mark.parametrize(
    "operation", ["rotate:degrees=[10,10]", "rotate:degrees=[-5,10]", "shear:degrees=[-20,20]", "skew", "zoom"]
)
@pytest.mark.parametrize("shape", [(1, 32, 32), (1, 24, 60)], ids=str)
def test_nothing_from_outside_is_seen(operation, shape):
    """A white picture stays white where what lies outside is black."""
    white = np.full((200, *shape), 255, np.uint8)
    policy = Policy.of([operation])
    (warp,) = draw(policy, step_keys(1, 0, np.arange(200)), shape)
    corners = np.array([[-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]]).T
    points = warp.matrices.astype(float) @ corners
    assert np.abs(points[:, :2] / points[:, 2:]).max() <= 1 + 1e-5
    np.testing.assert_array_equal(rounded(white, operation), white)


def test_a_cropped_rotation_is_no_smaller_than_needed():
    """A corner of the result touches an edge of the picture."""
    (warp,) = draw(Policy.of(["rotate:degrees=[10,10]"]), step_keys(0, 0, np.arange(1)), (1, 30, 50))
    corners = np.array([[-1, -1, 1], [1, -1, 1]]).T
    assert np.abs(warp.matrices[0] @ corners)[:2].max() == pytest.approx(1, abs=1e-6)


def test_a_shear_is_pillows_affine_transform():
    image = smooth(64, 64)
    slope = np.tan(np.radians(15))
    expected = Image.fromarray(image.transpose(1, 2, 0)).transform(
        (64, 64), Image.Transform.AFFINE, (1, slope, -slope * 32, 0, 1, 0), Image.Resampling.BILINEAR
    )
    found = augmented(image[None], "shear:degrees=[15,15],axis=x,border=black")[0].transpose(1, 2, 0)
    inner = np.s_[2:-2, 12:-12]
    assert np.abs(found - np.asarray(expected).astype(float))[inner].max() < 3


def test_a_skew_is_pillows_perspective_transform():
    """The coefficients of the drawn matrix, in pixels, give the same picture by Pillow."""
    image = smooth(64, 64)
    keys = step_keys(3, 0, np.arange(30))
    (warp,) = draw(Policy.of(["skew:magnitude=0.5"]), keys, (3, 64, 64))
    to_pixels, to_frame = (
        np.array([[32, 0, 32], [0, 32, 32], [0, 0, 1]]),
        np.array([[1 / 32, 0, -1], [0, 1 / 32, -1], [0, 0, 1]]),
    )
    found = augmented(np.repeat(image[None], 30, axis=0), "skew:magnitude=0.5")
    for matrix, ours in zip(warp.matrices, found):
        pixels = to_pixels @ matrix.astype(float) @ to_frame
        expected = Image.fromarray(image.transpose(1, 2, 0)).transform(
            (64, 64), Image.Transform.PERSPECTIVE, tuple((pixels / pixels[2, 2]).ravel()[:8]), Image.Resampling.BILINEAR
        )
        difference = np.abs(ours.transpose(1, 2, 0) - np.asarray(expected).astype(float))[2:-2, 2:-2]
        assert difference.max() < 4


def test_a_skew_pulls_corners_out_as_augmentor_does():
    """Seen from the picture: a tilt moves both ends of one edge outwards along it, a corner one corner along one axis."""
    (warp,) = draw(Policy.of(["skew"]), step_keys(0, 0, np.arange(400)), (3, 32, 32))
    corners = np.array([[-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]], dtype=float)
    points = np.einsum("nij,kj->nki", np.linalg.inv(warp.matrices.astype(float)), corners)
    moved = points[..., :2] / points[..., 2:] - corners[:, :2]
    assert (moved * corners[:, :2] > -1e-3).all()  # never inwards
    touched = (np.abs(moved) > 1e-2).reshape(400, 8)
    assert set(touched.sum(axis=1)) <= {0, 1, 2}
    assert len({tuple(each) for each in touched if each.any()}) == 12
    assert moved.max() == pytest.approx(2.0, abs=0.05)  # magnitude 1: the whole edge, which is 2 long in the frame


def test_a_zoom_shows_the_middle():
    image = smooth(60, 60)
    expected = Image.fromarray(image.transpose(1, 2, 0)).resize((60, 60), Image.Resampling.BILINEAR, (15, 15, 45, 45))
    found = augmented(image[None], "zoom:factor=[2,2]")[0].transpose(1, 2, 0)
    assert np.abs(found - np.asarray(expected).astype(float)).max() < 3


def test_a_resized_crop_has_the_share_and_the_ratio_asked_for():
    (warp,) = draw(
        Policy.of(["resized_crop:area=[0.2,0.3],ratio=[0.5,2]"]), step_keys(0, 0, np.arange(500)), (3, 40, 80)
    )
    width, height = warp.matrices[:, 0, 0], warp.matrices[:, 1, 1]
    uncut = (width < 1) & (height < 1)
    share, ratio = (width * height)[uncut], (width * 80 / (height * 40))[uncut]
    assert uncut.mean() > 0.7
    assert 0.2 <= share.min() <= share.max() <= 0.3 + 1e-6
    assert 0.5 <= ratio.min() < 0.7 < 1.4 < ratio.max() <= 2 + 1e-5


def test_operations_one_after_the_other_are_one_warp_of_their_product():
    """Mirrored, then turned: as numpy does it, in this order; and interpolated once."""
    images = noise()
    policy = Policy.of(["flip:axis=horizontal", "rotate90:degrees=[90]", "zoom:factor=[1,1]"])
    assert len(draw(policy, step_keys(0, 0, np.arange(8)), (3, 16, 16))) == 1
    found = rounded(images, "flip:axis=horizontal", "rotate90:degrees=[90]")
    np.testing.assert_array_equal(found, np.rot90(np.flip(images, 3), 1, (2, 3)))


def test_what_lies_outside_is_outside_of_the_frame_before():
    """A crop after a zoom pads the zoomed picture; one warp would show what the zoom had cut off."""
    image = np.zeros((300, 1, 8, 8), np.uint8)
    image[:, :, 2:6, 2:6] = 255
    found = rounded(image, "zoom:factor=[2,2],probability=1", "crop:padding=4,border=edge", interpolation="nearest")
    assert (found == 255).all()


# -- colours ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "enhancer"),
    [("brightness", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast), ("saturation", ImageEnhance.Color)],
)
@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 1.7])
def test_enhancements_are_pillows(operation, enhancer, factor):
    image = noise(1)[0]
    expected = np.asarray(enhancer(Image.fromarray(image.transpose(1, 2, 0))).enhance(factor)).astype(int)
    found = rounded(image[None], f"{operation}:factor=[{factor},{factor}]")[0].transpose(1, 2, 0)
    assert np.abs(found - expected).max() <= 2


@pytest.mark.parametrize("degrees", [-90.0, 30.0, 180.0])
def test_hue_turns_the_colour_circle(degrees):
    import colorsys

    image = noise(1, (3, 8, 8))
    found = augmented(image, f"hue:degrees=[{degrees},{degrees}]")[0].reshape(3, -1).T
    for before, after in zip(image[0].reshape(3, -1).T / 255, found / 255):
        h, s, v = colorsys.rgb_to_hsv(*before)
        np.testing.assert_allclose(after, colorsys.hsv_to_rgb((h + degrees / 360) % 1, s, v), atol=1e-4)


def test_a_blur_is_scipys_gaussian():
    from scipy.ndimage import gaussian_filter

    image = noise(1, (3, 24, 24))
    expected = [gaussian_filter(plane.astype(float), 1.2, mode="mirror", truncate=4 / 1.2) for plane in image[0]]
    found = augmented(image, "blur:sigma=[1.2,1.2]")[0]
    np.testing.assert_allclose(found, expected, atol=0.3)


def test_a_blur_wider_than_the_picture_is_defined():
    assert np.isfinite(augmented(noise(2, (1, 4, 4)), "blur:sigma=[3,3]")).all()


def test_noise_has_its_deviation_and_differs_between_rows():
    grey = np.full((4, 3, 32, 32), 128, np.uint8)
    added = augmented(grey, "noise:deviation=[0.1,0.1]") - 128
    np.testing.assert_allclose(added.std(axis=(1, 2, 3)), 25.5, rtol=0.05)
    assert len({each.tobytes() for each in added}) == 4


def test_erasing_covers_a_rectangle_of_the_share_asked_for():
    white = np.full((300, 1, 40, 40), 255, np.uint8)
    covered = augmented(white, "erase:probability=1,area=[0.1,0.2],ratio=[0.5,2],fill=black") == 0
    share = covered.mean(axis=(1, 2, 3))
    assert 0.09 < share.min() < 0.12 < 0.17 < share.max() < 0.21
    for each in covered[:, 0]:
        rows, columns = np.flatnonzero(each.any(axis=1)), np.flatnonzero(each.any(axis=0))
        assert each.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)


def test_grey_pictures_have_no_colour_to_change():
    images = noise(3, (1, 8, 8))
    for operation in ("hue:degrees=[90,90]", "saturation:factor=[2,2]", "grey:probability=1"):
        np.testing.assert_array_equal(rounded(images, operation), images)


# -- independence -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [*BUILT_IN, "every operation", "bicubic"])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 13, 21)], ids=str)
def test_a_row_does_not_depend_on_its_batch(policy, shape):
    """The same bits alone, in a small batch and in a large one, with one thread and with two."""
    operations = {
        "every operation": EVERY_OPERATION,
        "bicubic": {"operations": BUILT_IN["default"], "interpolation": "bicubic"},
    }
    chosen, images = Policy.of(operations.get(policy, policy)), torch.from_numpy(noise(67, shape))
    keys = step_keys(5, 2, np.arange(67))
    whole = apply(draw(chosen, keys, shape), images)
    for part in (slice(0, 1), slice(3, 4), slice(10, 43)):
        assert torch.equal(apply(draw(chosen, keys[part], shape), images[part]), whole[part])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert torch.equal(apply(draw(chosen, keys, shape), images), whole)
    finally:
        torch.set_num_threads(threads)


def test_the_batch_that_is_given_is_not_changed():
    images = torch.from_numpy(noise())
    before = images.clone()
    for policy in ("default", EVERY_OPERATION):
        apply(draw(Policy.of(policy), step_keys(0, 0, np.arange(8)), (3, 16, 16)), images.float())
        apply(draw(Policy.of(policy), step_keys(0, 0, np.arange(8)), (3, 16, 16)), images)
    assert torch.equal(images, before)


def test_a_sharp_picture_blurred_by_pillow_is_as_ours_within_reason():
    """Pillow's Gaussian is made of boxes: near, not equal."""
    image = smooth()
    expected = np.asarray(Image.fromarray(image.transpose(1, 2, 0)).filter(ImageFilter.GaussianBlur(1.0))).astype(float)
    found = augmented(image[None], "blur:sigma=[1,1]")[0].transpose(1, 2, 0)
    assert np.abs(found - expected)[4:-4, 4:-4].max() < 3
