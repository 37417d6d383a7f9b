"""Pictures: what comes out are Pillow's pixels, and what is no picture is a FormatError, never anything else."""

from __future__ import annotations

import io
import re
import struct
import zlib

import bson
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from firesteel.errors import FormatError
from firesteel.formats.images import (
    ImageSpec,
    decode,
    decode_all,
    encode_jpeg,
    probe,
)
from firesteel.formats.jpeg_segments import jpeg_may_be_turned
from firesteel.formats.pillow import MAX_PIXELS
from tests.conftest import picture, real_data

HEIGHT, WIDTH = 32, 48  # multiples of 16: no JPEG block is filled up with pixels that are not there
LOSSLESS = {"PNG": {}, "GIF": {}, "BMP": {}, "WEBP": {"lossless": True, "exact": True}, "TIFF": {}, "PPM": {}}


def smooth(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """uint8 (height, width, 3): a different slope in each channel, which survives JPEG almost unchanged."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [x * 255 / width, y * 255 / height, (x + y) * 255 / (height + width)]
    return np.stack(planes, axis=2).astype(np.uint8)


def encoded(image: Image.Image | np.ndarray, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(out, format, **options)
    return out.getvalue()


def pixels(data: bytes, channels: int = 3, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    return decode(data, ImageSpec(*size, channels)).pixels


def assert_close(found: np.ndarray, expected: np.ndarray, *, mean: float, most: int = 255) -> None:
    """Mean and largest difference of the pixels, in steps of 1/255."""
    difference = np.abs(found.astype(int) - expected.reshape(found.shape).astype(int))
    assert difference.mean() <= mean
    assert difference.max() <= most


def valid_pictures() -> dict[str, bytes]:
    """One picture of each kind, all of HEIGHT x WIDTH."""
    colour = Image.fromarray(smooth())
    grey = colour.convert("L")
    alpha = Image.merge("RGBA", (*colour.split(), grey))
    turned = Image.Exif()
    turned[0x0112] = 6
    sixteen = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    return {
        "jpeg": encoded(colour, "JPEG", quality=95),
        "jpeg 4:4:4": encoded(colour, "JPEG", quality=95, subsampling=0),
        "jpeg progressive": encoded(colour, "JPEG", quality=95, progressive=True),
        "jpeg grey": encoded(grey, "JPEG", quality=95),
        "jpeg cmyk": encoded(colour.convert("CMYK"), "JPEG", quality=95),
        "jpeg rgb": encoded(colour, "JPEG", quality=95, keep_rgb=True),
        "jpeg turned": encoded(colour, "JPEG", quality=95, exif=turned),
        "jpeg grey turned": encoded(grey, "JPEG", quality=95, exif=turned),
        "png": encoded(colour, "PNG"),
        "png grey": encoded(grey, "PNG"),
        "png 16-bit grey": encoded(sixteen, "PNG"),
        "png black and white": encoded(grey.convert("1"), "PNG"),
        "png palette": encoded(colour.quantize(200), "PNG"),
        "png palette transparent": encoded(colour.quantize(200), "PNG", transparency=0),
        "png palette alpha": encoded(colour.quantize(200), "PNG", transparency=bytes(range(200))),
        "png alpha": encoded(alpha, "PNG"),
        "png grey alpha": encoded(Image.merge("LA", (grey, grey)), "PNG"),
        "png transparent colour": encoded(colour, "PNG", transparency=(0, 0, 0)),
        "png turned": encoded(colour, "PNG", exif=turned),
        "gif": encoded(colour.quantize(200), "GIF"),
        "bmp": encoded(colour, "BMP"),
        "bmp palette": encoded(colour.quantize(200), "BMP"),
        "webp": encoded(colour, "WEBP", quality=95),
        "webp alpha": encoded(alpha, "WEBP", lossless=True),
        "tiff": encoded(colour, "TIFF"),
        "tiff 16-bit grey": encoded(sixteen, "TIFF"),
    }


PICTURES = valid_pictures()
any_picture = pytest.mark.parametrize("data", PICTURES.values(), ids=PICTURES.keys())


# -- pixels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", LOSSLESS)
def test_a_lossless_picture_comes_back_exactly(format):
    """Of formats that lose nothing, every pixel is the one that was written."""
    original = smooth()
    if format == "GIF":
        original = np.asarray(Image.fromarray(original).quantize(200).convert("RGB"))

    decoded = decode(encoded(original, format, **LOSSLESS[format]), ImageSpec(HEIGHT, WIDTH, 3))

    np.testing.assert_array_equal(decoded.pixels, original)
    assert decoded.pixels.dtype == np.uint8
    assert decoded.original[:2] == (HEIGHT, WIDTH)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF"])
def test_a_grey_picture_comes_back_exactly(format):
    """A grey picture wanted grey is unchanged; wanted in colour, its three channels are equal."""
    original = smooth()[:, :, 0]
    data = encoded(original, format)

    np.testing.assert_array_equal(pixels(data, 1), original[:, :, None])
    np.testing.assert_array_equal(pixels(data, 3), np.repeat(original[:, :, None], 3, axis=2))
    assert decode(data, ImageSpec(HEIGHT, WIDTH, 3)).original == (HEIGHT, WIDTH, 1)


@any_picture
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_pillows(data, channels):
    """Every kind of picture gives Pillow's pixels, on white where it is transparent, turned as its camera says."""
    image = Image.open(io.BytesIO(data))
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    elif image.mode in ("RGBA", "LA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image.alpha_composite(layer)
    if Image.open(io.BytesIO(data)).getexif().get(0x0112) == 6:
        image = image.transpose(Image.Transpose.ROTATE_270)
    expected = np.asarray(image.convert("L" if channels == 1 else "RGB"))

    found = pixels(data, channels, expected.shape[:2])

    lossy = Image.open(io.BytesIO(data)).format == "JPEG"
    assert_close(found, expected, mean=2.5 if lossy else 0.5, most=24 if lossy else 1)


@any_picture
@pytest.mark.parametrize("size", [(HEIGHT // 2, WIDTH // 2), (7, 5), (1, 1), (64, 100)], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_size_is_given_as_asked(data, size, channels):
    """Whatever the picture, smaller or larger, the result has the shape of the spec and the picture's mean colour."""
    found = pixels(data, channels, size)

    assert found.shape == (*size, channels)
    assert found.dtype == np.uint8
    whole = pixels(data, channels, probe(data)[:2])
    np.testing.assert_allclose(found.mean((0, 1)), whole.mean((0, 1)), atol=6)


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [(30, 44), (20, 22), (60, 88)], ids=str)
def test_another_size_is_what_pillow_makes_of_it(format, size):
    """Pictures are squeezed as Pillow's antialiased bilinear filter does it, also where JPEG is decoded at a fraction."""
    original = smooth(120, 176)
    expected = np.asarray(Image.fromarray(original).resize(size[::-1], Image.Resampling.BILINEAR))

    found = pixels(encoded(original, format), 3, size)

    assert_close(found, expected, mean=0 if format == "PNG" else 2, most=0 if format == "PNG" else 12)


def test_shrinking_averages_and_does_not_pick():
    """A chessboard of single black and white pixels becomes grey when it is shrunk: no pixel is left out."""
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)

    assert_close(pixels(encoded(board, "PNG"), 1, (8, 8)), np.full((8, 8), 127), mean=4, most=12)
    assert_close(pixels(encoded(board, "JPEG", quality=100), 1, (8, 8)), np.full((8, 8), 127), mean=4, most=12)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_transparent_pixels_are_laid_on_white(level):
    """A black picture of alpha a is 255 - a everywhere, in colour and in grey, from PNG and WebP."""
    clear = Image.new("RGBA", (WIDTH, HEIGHT), (0, 0, 0, level))
    for data in (encoded(clear, "PNG"), encoded(clear, "WEBP", lossless=True, exact=True)):
        for channels in (1, 3):
            assert_close(pixels(data, channels), np.full((HEIGHT, WIDTH, channels), 255 - level), mean=1, most=1)


def test_sixteen_bit_grey_is_scaled_and_not_clipped():
    """Values of 0 to 65535 become 0 to 255."""
    ramp = np.linspace(0, 65535, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)

    assert_close(pixels(encoded(ramp, "PNG"), 1), ramp // 256, mean=0)


# What a viewer shows for each orientation of the EXIF standard: "the 0th row is at the visual top, the 0th column at
# the visual left side" for 1, and so on.
SHOWN = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("orientation", SHOWN)
@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_the_orientation_of_the_camera_is_applied(orientation, endian, format):
    """The pixels are those that a viewer shows, for each of the eight orientations in both byte orders."""
    exif = Image.Exif()
    exif.endian = endian
    exif[0x010F] = "maker"
    exif[0x0112] = orientation
    options = {"quality": 95} if format == "JPEG" else LOSSLESS[format]
    data = encoded(smooth(), format, exif=exif.tobytes(), **options)
    expected = SHOWN[orientation](smooth())

    decoded = decode(data, ImageSpec(*expected.shape[:2], 3))

    assert_close(decoded.pixels, expected, mean=2.5, most=24)
    assert decoded.original == expected.shape
    assert probe(data) == expected.shape


# -- probe ----------------------------------------------------------------------------------------------------------


@any_picture
@pytest.mark.parametrize("spec", [ImageSpec(HEIGHT, WIDTH, 3), ImageSpec(4, 4, 1), ImageSpec(4, 4, 3)], ids=str)
def test_the_header_tells_what_decoding_finds(data, spec):
    """Size and channels are the same from the header alone and from decoding, to whatever size and channels."""
    assert probe(data) == decode(data, spec).original


@any_picture
def test_size_and_channels_are_those_that_were_written(data):
    """(height, width) is as written, or turned; one channel is said of grey pictures only."""
    name = next(name for name, value in PICTURES.items() if value is data)
    size = (WIDTH, HEIGHT) if "turned" in name else (HEIGHT, WIDTH)

    assert probe(data) == (*size, 1 if "grey" in name or "black" in name else 3)


# -- what is no picture ---------------------------------------------------------------------------------------------


def outcome(data: bytes, channels: int = 3) -> np.ndarray | FormatError:
    """The pixels or the FormatError; any other exception fails the test."""
    try:
        found = pixels(data, channels, (9, 8))
    except FormatError as error:
        if not str(error) or "\n" in str(error):
            pytest.fail(f"not one line: {str(error)!r}")
        return error
    assert found.shape == (9, 8, channels)
    return found


def outcome_of_probe(data: bytes) -> tuple[int, int, int] | FormatError:
    try:
        return probe(data)
    except FormatError as error:
        return error


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"<html>", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF"]
)
def test_what_is_no_picture_is_a_format_error(data):
    """Nothing, text, and bare magic numbers are refused by decoding and by the header."""
    assert isinstance(outcome(data), FormatError)
    assert isinstance(outcome_of_probe(data), FormatError)


def test_the_message_shows_the_first_bytes():
    """What is not a picture is described by its length and how it begins."""
    with pytest.raises(FormatError, match="not a picture: 14 bytes that begin with 3c 21 44 4f 43 54 59 50"):
        pixels(b"<!DOCTYPE html")


def test_postscript_is_not_run():
    """An EPS file is a program; it is refused before anything interprets it."""
    data = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(/tmp/x) (w) file\n%%EOF\n"

    with pytest.raises(FormatError, match="PostScript is not read"):
        pixels(data)
    with pytest.raises(FormatError, match="PostScript is not read"):
        probe(data)


@given(data=st.binary(max_size=200))
def test_any_bytes_decode_or_are_a_format_error(data):
    """Random bytes, bare or behind the magic number of a format, never raise anything but FormatError."""
    for head in (
        b"",
        b"\xff\xd8\xff\xe0",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"BM",
        b"RIFF....WEBPVP8 ",
        b"II*\0",
        b"P6 ",
    ):
        outcome(head + data)
        outcome_of_probe(head + data)


@any_picture
def test_a_picture_cut_anywhere_decodes_or_is_a_format_error(data):
    """Cut at some sixty lengths, a picture never raises anything but FormatError; cut to a half it does not decode."""
    for length in range(0, len(data), max(1, len(data) // 60)):
        outcome(data[:length])
        outcome_of_probe(data[:length])
    assert isinstance(outcome(data[: len(data) // 2]), FormatError)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_picture_cut_in_its_pixels_is_refused(format, mode):
    """A download that broke off anywhere behind its half is no grey-bottomed picture but a FormatError."""
    data = picture(100, (60, 50), mode=mode, format=format, seed=1)

    for share in (0.5, 0.7, 0.9, 0.97):
        with pytest.raises(FormatError, match="damaged picture"):
            pixels(data[: int(len(data) * share)])


@settings(max_examples=150)
@given(
    name=st.sampled_from(sorted(PICTURES)),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6),
)
def test_a_damaged_picture_decodes_or_is_a_format_error(name, changes):
    """Bytes changed anywhere in any kind of picture never raise anything but FormatError."""
    data = bytearray(PICTURES[name])
    for position, value in changes:
        data[position % len(data)] = value

    outcome(bytes(data), 1)
    outcome(bytes(data), 3)
    outcome_of_probe(bytes(data))


def giant_png(width: int, height: int) -> bytes:
    def part(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(bytes(1000))) + part(b"IEND", b"")


def giant_jpeg(width: int, height: int) -> bytes:
    data = bytearray(picture(5))
    start = data.index(b"\xff\xc0")  # the frame header: marker, length, precision, height, width
    struct.pack_into(">HH", data, start + 5, height, width)
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        giant_png(20_000, 20_000),
        giant_png(MAX_PIXELS // 1000 + 1, 1000),
        giant_png(2**31 - 1, 2**31 - 1),
        giant_jpeg(65_500, 65_500),
        giant_jpeg(11_000, 10_000),
        b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + bytes(20),
        b"BM"
        + struct.pack("<IHHIIiiHHIIiiII", 1000, 0, 0, 54, 40, 50_000, 50_000, 1, 24, 0, 0, 0, 0, 0, 0)
        + bytes(900),
    ],
    ids=["png", "png just above", "png largest", "jpeg", "jpeg just above", "gif", "bmp"],
)
def test_a_giant_picture_is_refused_by_its_header(data):
    """A small file that announces more than 100 million pixels is refused before memory is taken for them."""
    assert len(data) < 5000
    assert isinstance(outcome(data), FormatError)


def test_the_message_for_a_giant_names_its_size():
    """The size that the picture announces and the limit are said."""
    with pytest.raises(FormatError, match=f"100001x1000 pixels.*{MAX_PIXELS}"):
        pixels(giant_png(100_001, 1000))


# -- encoding -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_an_encoded_picture_decodes_to_almost_the_same(channels):
    """JPEG of quality 95 changes smooth pixels by about one step, as Pillow decodes it."""
    original = smooth()[:, :, :channels]

    data = encode_jpeg(original)

    image = Image.open(io.BytesIO(data))
    assert (image.format, image.mode, image.size) == ("JPEG", "L" if channels == 1 else "RGB", (WIDTH, HEIGHT))
    assert_close(np.asarray(image), original.squeeze(), mean=2, most=12)
    assert_close(pixels(data, channels), original, mean=2, most=12)


def test_encoding_takes_a_view():
    """Pixels that do not lie one behind the other in memory are encoded as they look."""
    original = smooth()

    assert encode_jpeg(original[:, ::-1]) == encode_jpeg(np.ascontiguousarray(original[:, ::-1]))


def test_the_real_sample_decodes_as_pillow_does():
    """The product pictures of the Cdiscount sample are Pillow's within four steps, a chroma shortcut of libjpeg apart."""
    documents = bson.decode_all((real_data("cdiscount") / "train_example.bson").read_bytes())

    for data in [image["picture"] for document in documents for image in document["imgs"]]:
        assert probe(data) == (180, 180, 3)
        expected = Image.open(io.BytesIO(data))
        assert_close(pixels(data, 3, (180, 180)), np.asarray(expected.convert("RGB")), mean=4)
        assert_close(pixels(data, 1, (180, 180)), np.asarray(expected.convert("L")), mean=1)


def test_what_pillow_says_of_a_damaged_file_is_in_the_error_and_nowhere_else(capfd):
    """A tag longer than its file and a wild number of samples: Pillow warns of one and prints the other."""
    data = bytearray(picture(90, (24, 18), format="TIFF", seed=1))
    first = struct.unpack_from("<I", data, 4)[0] + 2
    entries = {struct.unpack_from("<H", data, first + 12 * i)[0]: first + 12 * i for i in range(10)}
    struct.pack_into("<I", data, entries[284] + 4, 1 << 20)  # the count of PlanarConfiguration
    wild = bytearray(picture(90, (24, 18), format="TIFF", seed=1))
    struct.pack_into("<I", wild, entries[277] + 8, 2048)  # SamplesPerPixel

    with pytest.warns(UserWarning, match="Tag data larger than file"):
        ImageOps.exif_transpose(Image.open(io.BytesIO(bytes(data))))
    decode(bytes(data), ImageSpec(8, 8, 3))
    with pytest.raises(FormatError):
        decode(bytes(wild), ImageSpec(8, 8, 3))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("channels", [1, 3])
def test_many_pictures_have_the_bits_that_each_has_alone(channels):
    """Of one size and of many, larger and smaller than wanted, with broken ones between them."""
    random = np.random.default_rng(0)
    pictures = [encoded(random.integers(0, 256, (90, 70, 3), np.uint8), "JPEG") for _ in range(9)]
    pictures += [
        encoded(random.integers(0, 256, (h, w, 3), np.uint8), "PNG")
        for h, w in [(5, 7), (24, 40), (24, 9), (31, 16)] * 2
    ]
    pictures += [b"", pictures[0][:300], encoded(smooth(900, 700), "BMP"), encoded(smooth(900, 700), "BMP")]
    order = random.permutation(len(pictures))
    pictures = [pictures[position] for position in order]
    spec = ImageSpec(24, 16, channels)
    found = decode_all(pictures, spec)
    assert sum(isinstance(each, FormatError) for each in found) == 2
    for data, each in zip(pictures, found):
        if isinstance(each, FormatError):
            with pytest.raises(FormatError, match=re.escape(str(each))):
                decode(data, spec)
        else:
            alone = decode(data, spec)
            assert np.array_equal(each.pixels, alone.pixels)
            assert each.original == alone.original
    assert decode_all([], spec) == []


def test_exif_is_found_behind_other_segments_and_nowhere_else():
    """Comments, fill bytes and other programs' segments may stand in front; what a picture's data spell is no EXIF."""
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(Image.fromarray(smooth()), "JPEG", exif=exif)
    for front in (
        b"\xff\xfe\x00\x08Exif\0\0",
        b"\xff\xff\xff\xfe\x00\x03x",
        b"\xff\xe2" + (60_000).to_bytes(2, "big") + bytes(59_998),
    ):
        assert jpeg_may_be_turned(b"\xff\xd8" + front + turned[2:])
    plain = encoded(Image.fromarray(smooth()), "JPEG")
    assert not jpeg_may_be_turned(plain + turned)
    assert not jpeg_may_be_turned(b"\xff\xd8\xff\xe1")
