"""An uploaded zip is checked before it is kept, and read like the folder that it was."""

import io
import os
import stat
import struct
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.base import Right
from contracts.errors import UnreadableSource, UnsafeArchive, UploadTooLarge, XsysError
from services.data.readers import archive
from services.data.readers.archive import check_zip, list_zip, read_zip, safe_name
from services.data.service import Data
from services.kit.settings import Settings
from tests.data.desk import caller, packed, png


def shown(desk, files):
    return [(sample.name, sample.label, sample.caption) for sample in desk.samples(desk.register_zip(files))]


def test_an_uploaded_zip_becomes_a_dataset_by_the_rules_of_a_folder(desk):
    files = {
        "captions.csv": b"file,caption\ncats/a.png,a cat\n",
        "cats/a.png": png(0),
        "dogs/B.PNG": png(1),
        "dogs/B.txt": b"a dog",
        "top.png": png(2),
        "odd.gif": b"GIF89a",
        "notes.md": b"",
        ".hidden.png": png(3),
    }
    sent = desk.send(files)
    assert sent.entries == 8 and sent.bytes == len(packed(files))
    dataset = desk.register({"kind": "upload", "upload": sent.upload})
    assert [(sample.name, sample.label, sample.caption) for sample in desk.samples(dataset)] == [
        ("cats/a.png", "cats", "a cat"),
        ("dogs/B.PNG", "dogs", "a dog"),
        ("top.png", None, None),
    ]
    assert desk.rejected(dataset) == {"odd.gif": ("UnsafePicture", "not a PNG, JPEG or WebP picture")}


def test_masks_in_a_zip_lie_beside_their_pictures_too(desk):
    files = {"pets/cats/a.png": png(0), "pets/cats/a.mask-object.png": png(1), "pets/cats/b.png": png(2)}
    dataset = desk.register_zip(files)
    assert [(sample.name, sample.masks) for sample in desk.samples(dataset)] == [
        ("cats/a.png", ["object"]), ("cats/b.png", []),
    ]  # fmt: skip


def test_the_one_folder_that_everything_lies_in_is_no_label(desk):
    files = {"set/a.png": png(0), "set/a.txt": b"words", "__MACOSX/set/._a.png": b"\0"}
    assert shown(desk, files) == [("a.png", None, "words")]


def test_below_the_one_folder_labels_and_captions_are_found(desk):
    files = {
        "set/captions.csv": b"file,caption\ncats/a.png,a cat\n",
        "set/cats/a.png": png(0),
        "set/dogs/b.png": png(1),
        "set/dogs/b.txt": b"a dog",
        "__MACOSX/set/cats/._a.png": b"\0",
        ".DS_Store": b"\0",
    }
    assert shown(desk, files) == [("cats/a.png", "cats", "a cat"), ("dogs/b.png", "dogs", "a dog")]


def test_names_from_other_systems_are_folders_too(desk):
    assert shown(desk, {"./cats\\a.png": png(0), "./b.png": png(1)}) == [
        ("b.png", None, None),
        ("cats/a.png", "cats", None),
    ]


def test_a_table_with_other_columns_is_refused(desk):
    with pytest.raises(UnreadableSource, match="columns file and caption"):
        desk.register_zip({"captions.csv": b"a,b\n1,2\n", "a.png": png(0)})


def test_the_same_archive_twice_is_one_upload(desk):
    body = packed({"a.png": png(0)})  # packed once: a zip holds the time of its making
    assert desk.data.upload(caller("w"), body) == desk.data.upload(caller("w"), body)


def test_an_upload_of_another_workspace_is_none(desk):
    sent = desk.send({"a.png": png(0)}, workspace="theirs")
    source = {"kind": "upload", "upload": sent.upload}
    with pytest.raises(UnreadableSource, match="no such upload"):
        desk.plan(source, me=caller("mine", Right.SERVER_PATHS, Right.ADMINISTER))
    assert desk.register(source, workspace="theirs").ref.n == 1


def test_a_blob_that_was_no_upload_is_none(desk):
    sha = desk.data.blobs.put(packed({"a.png": png(0)}))
    with pytest.raises(UnreadableSource, match="no such upload"):
        desk.plan({"kind": "upload", "upload": sha})


def test_too_many_bytes_are_refused_with_the_limit_and_nothing_is_left(desk):
    small = Data(desk.data.database, desk.data.blobs, Settings(home=desk.data.settings.home, upload_limit=100))
    with pytest.raises(UploadTooLarge) as refusal:
        small.upload(caller(), b"x" * 101)
    assert refusal.value.facts == {"limit": 100}
    for body in (b"", b"PK\x05\x06", b"x" * 100):
        with pytest.raises(UnsafeArchive):
            small.upload(caller(), body)
    assert [path for path in desk.data.blobs.root.rglob("*") if path.is_file()] == []


BAD = [
    "../a.png",
    "/etc/a.png",
    "a/../../b.png",
    "..\\a.png",
    "\\\\host\\a.png",
    "C:\\a.png",
    "c:a.png",
    "a/\n.png",
    "x" * 1001,
]


@pytest.mark.parametrize("name", BAD)
def test_names_that_lead_out_are_refused(desk, name):
    with pytest.raises(UnsafeArchive, match="leads out"):
        desk.send({"good.png": png(0), name: png(1)})


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(["..", ".", "", "a", "é", "C:", "\\", "/", "..\\", "a.png", "\0", "\u202e", "\ud800"]),
        max_size=6,
    )
)
def test_a_name_that_is_let_through_never_leaves_its_folder(parts):
    try:
        name = safe_name("/".join(parts))
    except UnsafeArchive:
        return
    name.encode()
    for system in (os.path, __import__("ntpath")):
        assert not system.isabs(name) and not system.splitdrive(name)[0]
        assert not system.normpath(name).startswith("..")


def zip_of(entry: zipfile.ZipInfo, data: bytes = b"x") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr(entry, data)
    return out.getvalue()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_links_and_devices_are_refused(desk, kind):
    entry = zipfile.ZipInfo("a.png")
    entry.external_attr = (kind | 0o777) << 16
    with pytest.raises(UnsafeArchive, match="link or a device"):
        desk.data.upload(caller(), zip_of(entry, b"/etc/passwd"))


def test_encrypted_entries_are_refused(desk):
    body = bytearray(zip_of(zipfile.ZipInfo("a.png")))
    body[body.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(UnsafeArchive, match="encrypted"):
        desk.data.upload(caller(), bytes(body))


def test_a_name_that_occurs_twice_is_refused(desk):
    with pytest.raises(UnsafeArchive, match="twice"):
        desk.send({"a.png": png(0), "./a.png": png(1)})


def test_a_bomb_is_refused_by_its_ratio(desk):
    body = packed({"a.png": bytes(20_000_000)})
    assert len(body) < 100_000
    with pytest.raises(UnsafeArchive) as refusal:
        desk.data.upload(caller(), body)
    assert refusal.value.facts["ratio_limit"] == 200


def test_a_bomb_of_overlapping_entries_is_refused_by_the_size_of_the_file(tmp_path):
    """Each entry claims the same packed bytes, so the claims alone would have an innocent ratio."""
    kernel = zip_of(zipfile.ZipInfo("a"), os.urandom(100_000))
    start = kernel.index(b"PK\x01\x02")
    record = kernel[start : kernel.index(b"PK\x05\x06")]
    many = 400
    records = b"".join(
        record[:28] + struct.pack("<H", 3) + record[30:46] + f"{number:03d}".encode() for number in range(many)
    )
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, many, many, len(records), start, 0)
    path = tmp_path / "x.zip"
    path.write_bytes(kernel[:start] + records + end)
    with pytest.raises(UnsafeArchive) as refusal:
        check_zip(path)
    assert refusal.value.facts["ratio_limit"] == 200


def test_single_entries_and_their_number_have_limits(desk, monkeypatch):
    monkeypatch.setattr(archive, "MOST_ENTRY_BYTES", 10)
    with pytest.raises(UnsafeArchive, match="11 B") as refusal:
        desk.send({"a.png": b"x" * 11})
    assert refusal.value.facts == {"limit": 10}
    monkeypatch.setattr(archive, "MOST_ENTRIES", 1)
    with pytest.raises(UnsafeArchive, match="2 entries"):
        desk.send({"a.png": b"", "b.png": b""})


def test_a_damaged_entry_is_skipped_with_its_reason_and_the_rest_is_read(desk):
    body = bytearray(packed({"a.png": png(0), "b.png": png(1)}, zipfile.ZIP_STORED))
    body[body.index(png(0)) + 60] ^= 1
    upload = desk.data.upload(caller(), bytes(body)).upload
    dataset = desk.register({"kind": "upload", "upload": upload})
    assert [sample.name for sample in desk.samples(dataset)] == ["b.png"]
    reason, detail = desk.rejected(dataset)["a.png"]
    assert reason == "UnsafePicture" and "damaged in the archive" in detail and "CRC" in detail


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_no_flipped_bytes_break_anything_but_the_archive(tmp_path_factory, data):
    body = bytearray(
        packed({"s/captions.csv": b"file,caption\na.png,b\n", "s/a.png": png(0)[:80], "s/a.txt": b"words"})
    )
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "flipped.zip"
    path.write_bytes(body)
    try:
        listing = list_zip(path, "x")
        for entry in listing.entries:
            safe_name(entry.name)
        list(read_zip(listing.entries))
    except XsysError:
        pass
