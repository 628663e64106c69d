import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from contracts.data import Box, Sample
from contracts.errors import UnknownSample, UnsafePicture
from services.kit.blobs import Blobs
from services.kit.pictures import (
    Entry,
    Manifest,
    Place,
    decode_picture,
    encode_picture,
    encode_thumbnail,
    media_type_of,
    write_manifest,
)


def picture(width: int = 60, height: int = 40) -> Image.Image:
    ramp = np.linspace(0, 255, width * height * 3).reshape(height, width, 3)
    return Image.fromarray(ramp.astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + b"\0\0\0\0IEND\xaeB`\x82"
    )


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_accepted_formats_decode_to_upright_rgb(kind):
    decoded = decode_picture(encoded(picture(), kind))
    assert (decoded.mode, decoded.size) == ("RGB", (60, 40))


def test_a_lossless_picture_survives_storage_to_the_last_bit():
    decoded = decode_picture(encoded(picture(), "PNG"))
    again = decode_picture(encode_picture(decoded))
    assert np.array_equal(np.asarray(again), np.asarray(picture()))
    assert encode_picture(again) == encode_picture(decoded)


@pytest.mark.parametrize(
    "options", [{}, {"exif": b"Exif\0\0MM\0*"}, {"save_all": True}], ids=["plain", "exif", "moving"]
)
def test_a_lossless_webp_survives_storage_to_the_last_bit_and_a_lossy_one_stays_small(options):
    frames = {"append_images": [picture().transpose(Image.Transpose.ROTATE_180)]} if "save_all" in options else {}
    exact = encoded(picture(), "WEBP", lossless=True, **options, **frames)
    stored = encode_picture(decode_picture(exact))
    assert np.array_equal(np.asarray(decode_picture(stored)), np.asarray(picture()))
    lossy = encoded(picture(), "WEBP", quality=80, **options, **frames)
    assert media_type_of(encode_picture(decode_picture(lossy))) == "image/jpeg"


def test_a_photograph_is_stored_as_a_photograph():
    stored = encode_picture(decode_picture(encoded(picture(), "JPEG", quality=90)))
    assert media_type_of(stored) == "image/jpeg"


def test_the_camera_orientation_is_applied_and_the_place_is_forgotten():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    exif.get_ifd(0x8825)[1] = "N"
    decoded = decode_picture(encoded(picture(60, 40), "JPEG", exif=exif))
    assert decoded.size == (40, 60)
    stored = encode_picture(decoded)
    assert b"Exif" not in stored
    assert len(Image.open(io.BytesIO(stored)).getexif()) == 0


def test_the_first_frame_of_an_animation_is_taken():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert decode_picture(data).getpixel((4, 4)) == (255, 0, 0)


def test_transparency_is_laid_on_white():
    assert decode_picture(encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 0)), "PNG")).getpixel((1, 1)) == (255, 255, 255)


def test_deep_greyscale_keeps_its_contrast():
    deep = Image.fromarray(np.array([[0, 40_000]], dtype=np.uint16))
    decoded = decode_picture(encoded(deep, "PNG"))
    assert [decoded.getpixel((0, 0))[0], decoded.getpixel((1, 0))[0]] == [0, 255]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello, this is no picture", "not a PNG"),
        (png_header(50_000, 50_000), "far too many pixels"),
        (png_header(8_000, 8_000), "8000 × 8000 pixels"),
        (png_header(100, 100), "damaged"),
        (encoded(picture(), "JPEG")[:300], "damaged"),
        (encoded(picture(), "PNG")[:200], "damaged"),
        (encoded(picture(), "TIFF"), "not a PNG"),
        (encoded(picture(), "GIF"), "not a PNG"),
        (encoded(picture(), "EPS"), "not a PNG"),
    ],
    ids=["empty", "text", "huge", "large", "hollow", "cut-jpeg", "cut-png", "tiff", "gif", "eps"],
)
def test_what_is_no_safe_picture_is_refused_with_a_reason(data, reason):
    with pytest.raises(UnsafePicture, match=reason):
        decode_picture(data)


def test_the_pixel_limit_is_the_callers():
    with pytest.raises(UnsafePicture) as refusal:
        decode_picture(encoded(picture(), "PNG"), pixel_limit=100)
    assert refusal.value.facts == {"limit": 100}


def test_a_thumbnail_keeps_the_shape_and_never_grows():
    assert Image.open(io.BytesIO(encode_thumbnail(picture(640, 320)))).size == (160, 80)
    assert Image.open(io.BytesIO(encode_thumbnail(picture(60, 40)))).size == (60, 40)


@pytest.fixture
def manifest(tmp_path):
    blobs = Blobs(tmp_path / "blobs")
    stored = [encode_picture(picture(10 + place, 10)) for place in range(3)]
    small = [encode_thumbnail(picture(10 + place, 10)) for place in range(3)]
    pack, thumbs = blobs.put(b"".join(stored)), blobs.put(b"".join(small))
    entries = [
        Entry(
            Sample(
                index=place, sha256=f"{place:064x}", name=f"{place}.png", label="cat" if place else None, group="g",
                box=Box(left=1, top=2, right=3, bottom=4) if place else None, width=10 + place, height=10,
                duplicate_of=0 if place == 2 else None,
            ),
            Place(pack, sum(map(len, stored[:place])), len(stored[place])),
            Place(thumbs, sum(map(len, small[:place])), len(small[place])),
        )
        for place in range(3)
    ]  # fmt: skip
    write_manifest(tmp_path / "1.parquet", entries)
    write_manifest(tmp_path / "2.parquet", entries)
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
    return Manifest.load(tmp_path / "1.parquet", blobs), entries


def test_a_manifest_gives_back_what_was_written(manifest):
    loaded, entries = manifest
    assert loaded.n == 3
    assert [loaded.sample(index) for index in range(3)] == [entry.sample for entry in entries]
    assert loaded.labels() == [None, "cat", "cat"]
    assert [image.size for image in loaded.pictures(1, 3)] == [(11, 10), (12, 10)]
    assert Image.open(io.BytesIO(loaded.thumbnail_bytes(2))).size == (12, 10)


@pytest.mark.parametrize("index", [-1, 3])
def test_a_sample_beyond_the_end_is_unknown(manifest, index):
    with pytest.raises(UnknownSample):
        manifest[0].picture_bytes(index)


@pytest.mark.parametrize("flag", range(1, 9))
def test_all_eight_orientations_are_turned_as_pillow_turns_them(flag):
    exif = Image.Exif()
    exif[0x0112] = flag
    data = encoded(picture(), "PNG", exif=exif)
    wanted = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    assert np.array_equal(np.asarray(decode_picture(data)), np.asarray(wanted))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("damage", [b"\xff", b"\x02", b"\x07", b"\x0c"], ids=bytes.hex)
def test_damaged_exif_is_no_reason_to_lose_a_picture(damage):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a maker"
    body = exif.tobytes()
    for place in range(14, len(body)):
        broken = body[:place] + damage + body[place + 1 :]
        assert sorted(decode_picture(encoded(picture(), "PNG", exif=broken)).size) == [40, 60]


def test_a_photograph_longer_than_jpeg_can_be_written_is_stored_as_png():
    long = Image.new("RGB", (65_535, 8))
    long.info = {"lossless": False}
    assert media_type_of(encode_picture(long)) == "image/png"
