"""What becomes of pictures between a source and a dataset."""

import io
import os
import resource
import struct
import zlib
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from contracts.base import Right
from contracts.errors import Conflict, NoGoodFile, PathNotAllowed, StorageFull, UnreadableSource
from services.data.service import Data
from services.kit.settings import Settings
from tests.data.desk import Desk, caller, encoded, picture, png


def of(root):
    return {"kind": "folder", "path": str(root)}


def huge_png(width, height):
    """A picture that is small as a file and claims to be enormous."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def blobs_of(desk, plan):
    return {
        (stage.stage, number, name): blob
        for stage in plan.stages
        for number, part in enumerate(stage.parts)
        for name, blob in desk.run_part(stage.stage, part).emitted.items()
    }


def test_bad_files_are_skipped_with_their_reasons_and_the_rest_is_a_dataset(desk, folder):
    root = folder(
        {"empty.png": b"", "text.jpg": b"no picture", "short.jpg": encoded(picture(1), "JPEG")[:-300],
         "short.png": png(2)[:-200], "huge.png": huge_png(50_000, 50_000), "large.png": huge_png(8_000, 8_000),
         "page.gif": encoded(picture(3), "GIF"), "vector.png": b"<svg/>", "good.png": png(0),
         "named.webp": encoded(picture(4), "JPEG")}
    )  # fmt: skip
    dataset = desk.register(of(root), part_size=3)
    assert [sample.name for sample in desk.samples(dataset)] == ["good.png", "named.webp"]
    assert [sample.index for sample in desk.samples(dataset)] == [0, 1]
    rejected = desk.rejected(dataset)
    assert dataset.n_rejected == len(rejected) == 8
    assert {reason for reason, _ in rejected.values()} == {"UnsafePicture"}
    said = {name: detail for name, (_, detail) in rejected.items()}
    assert said["empty.png"] == "the file is empty"
    assert "pixels" in said["huge.png"] and "8000 × 8000 pixels" in said["large.png"]
    assert said["text.jpg"] == said["page.gif"] == said["vector.png"] == "not a PNG, JPEG or WebP picture"
    assert said["short.jpg"].startswith("damaged") and said["short.png"].startswith("damaged")


def test_a_source_without_one_good_file_is_refused_and_publishes_nothing(desk, folder):
    with pytest.raises(NoGoodFile, match="none of 2 files") as refusal:
        desk.register(of(folder({"a.png": b"", "b.jpg": b"x"})))
    assert refusal.value.facts["rejected"] == ["a.png: the file is empty", "b.jpg: not a PNG, JPEG or WebP picture"]
    assert desk.data.datasets(caller()).items == []


def test_a_photograph_is_turned_upright_and_tells_nobody_where_it_was_taken(desk, folder):
    left_to_right = Image.fromarray(
        np.repeat(np.array([[[255, 0, 0]], [[0, 0, 255]]], np.uint8), 64, axis=1).repeat(32, 0)
    )
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "SecretCamera"
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0)})
    photograph = encoded(left_to_right, "JPEG", quality=95, exif=exif, comment=b"SecretWords")
    assert b"SecretCamera" in photograph and b"SecretWords" in photograph
    dataset = desk.register(of(folder({"a.jpg": photograph, "b.png": encoded(left_to_right, "PNG", exif=exif)})))
    for index, sample in enumerate(desk.samples(dataset)):
        assert (sample.width, sample.height) == (64, 64)
        for kept in (desk.data.picture(caller(), dataset.ref.id, index), desk.data.thumbnail(caller(), "set", index)):
            assert b"Secret" not in kept.body and b"Exif" not in kept.body and b"EXIF" not in kept.body
            opened = Image.open(io.BytesIO(kept.body))
            assert not opened.getexif() and not opened.info.get("comment")
            pixels = np.asarray(opened.convert("RGB"))
            assert pixels[32, 5, 2] > 200 > 50 > pixels[32, 5, 0], "turned by a quarter: below came to the left"
            assert pixels[32, -5, 0] > 200


def test_duplicates_name_their_first_also_in_another_format_and_another_part(desk, folder):
    lossless = encoded(picture(0), "WEBP", lossless=True)
    files = {"a.png": png(0), "b.webp": lossless, "c.png": png(1), "z.png": png(0)}
    dataset = desk.register(of(folder(files)), part_size=1)
    assert [sample.duplicate_of for sample in desk.samples(dataset)] == [None, 0, None, 0]
    assert dataset.n_duplicates == 2


def test_two_runs_give_equal_bytes_and_parts_do_not_matter_to_the_id(desk, folder, tmp_path):
    source = of(folder({f"{n}.png": png(n) for n in range(5)} | {"x.jpg": encoded(picture(9), "JPEG"), "bad.png": b""}))
    plan = desk.plan(source)
    assert blobs_of(desk, plan) == blobs_of(desk, plan)
    whole = desk.run(desk.plan(source, part_size=100))
    assert whole.ref == desk.run(plan).ref
    assert desk.data.datasets(caller()).items == [whole]


def test_a_part_does_not_know_the_folder_in_its_key_but_knows_the_pixel_limit(desk, folder):
    source = of(folder({"a.png": png(0)}))
    lower = Settings(home=desk.data.settings.home, pixel_limit=100)
    other = Desk(Data(desk.data.database, desk.data.blobs, lower))
    assert not set(desk.plan(source).stages[0].parts[0].outputs.values()) & set(
        other.plan(source).stages[0].parts[0].outputs.values()
    )
    with pytest.raises(NoGoodFile) as refusal:
        other.register(source)
    assert refusal.value.facts["rejected"] == ["a.png: 24 × 16 pixels; at most 100 are decoded"]


def test_a_worker_goes_by_the_pixel_limit_of_the_plan_and_not_by_its_own(desk, folder):
    plan = desk.plan(of(folder({"a.png": png(0)})))
    worker = Desk(Data(desk.data.database, desk.data.blobs, Settings(home=desk.data.settings.home, pixel_limit=100)))
    assert worker.run(plan).ref.n == 1


def test_a_name_belongs_to_its_content(desk, folder):
    first = desk.register(of(folder({"a.png": png(0)}, "one")))
    with pytest.raises(Conflict, match="belongs to") as refusal:
        desk.register(of(folder({"a.png": png(1)}, "two")))
    assert refusal.value.facts == {"dataset": first.ref.id}
    assert desk.data.datasets(caller()).items == [first]


def test_content_that_has_a_name_gets_no_second_one_in_silence(desk, folder):
    source = of(folder({"a.png": png(0)}))
    first = desk.register(source)
    assert desk.plan(source, name="other").result is None, "another name is not done yet"
    with pytest.raises(Conflict, match="registered already, as set") as refusal:
        desk.register(source, name="other")
    assert refusal.value.facts == {"dataset": first.ref.id}
    assert desk.register(source, name="other", workspace="theirs").ref.name == "other"


def test_the_same_samples_with_other_words_are_another_dataset(desk, folder):
    ids = [
        desk.register(of(folder({"a.png": png(0), "a.txt": words}, f"f{n}")), name=f"n{n}").ref
        for n, words in enumerate([b"one", b"two", b""])
    ]
    assert len({ref.id for ref in ids}) == 3 and len({ref.content_sha256 for ref in ids}) == 1


def test_server_paths_need_the_right_or_an_import_root(desk, folder, tmp_path):
    root = folder({"a.png": png(0)}, "allowed")
    outside = folder({"b.png": png(1)}, "allowed-not")
    os.symlink(outside, root / "escape")
    os.symlink(root, tmp_path / "alias")
    settings = Settings(home=tmp_path, import_roots=[tmp_path / "alias"])
    limited = Desk(Data(desk.data.database, desk.data.blobs, settings))
    me = caller("w")
    for path in (root, tmp_path / "alias", outside / ".." / "allowed"):
        assert limited.run(limited.plan(of(path), me=me)).ref.n == 1
        with pytest.raises(PathNotAllowed):
            desk.plan(of(path), me=me)
    for path in (outside, root / "escape", root / ".." / "allowed-not", tmp_path, "/", tmp_path / "nowhere"):
        with pytest.raises(PathNotAllowed) as refusal:
            limited.plan(of(path), me=me)
        assert refusal.value.field == "source.path"
        for kind in ("parquet", "webdataset"):
            with pytest.raises(PathNotAllowed):
                limited.plan({"kind": kind, "path": str(path)}, me=me)
    assert desk.plan(of(outside), me=caller("w", Right.SERVER_PATHS)).result is None


@pytest.mark.parametrize("path", ["\0", "~nobody-here/x", "x" * 5000, ""], ids=repr)
def test_a_path_that_is_none_is_a_refusal(desk, path):
    for kind in ("folder", "parquet", "webdataset"):
        with pytest.raises((PathNotAllowed, UnreadableSource)):
            desk.plan({"kind": kind, "path": path}, me=caller("w"))


@contextmanager
def files_of_at_most(size):
    """Let the kernel refuse larger files, as a full disk refuses them."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_told_as_such_and_leaves_no_half_files(desk, folder):
    plan = desk.plan(of(folder({f"{n}.png": encoded(picture(n, 200, 200)) for n in range(3)})))
    with files_of_at_most(100_000), pytest.raises(StorageFull):
        desk.run_part("ingest", plan.stages[0].parts[0])
    with files_of_at_most(100_000), pytest.raises(StorageFull):
        desk.data.upload(caller(), b"x" * 200_000)
    assert [path for path in desk.data.blobs.root.rglob("*") if path.is_file()] == []
    assert desk.run(plan).ref.n == 3
