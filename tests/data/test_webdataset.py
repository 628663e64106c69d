"""Datasets of a WebDataset tar."""

import io
import tarfile
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import UnreadableSource, UnsafeArchive, XsysError
from services.data.readers.webdataset import list_webdataset, read_tar
from tests.data.desk import png


def tar_of(files, mode="w"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as made:
        for name, data in files.items():
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(data)
            made.addfile(member, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture
def source(tmp_path):
    def make(body):
        path = tmp_path / "set.tar"
        path.write_bytes(body)
        return {"kind": "webdataset", "path": str(path)}

    return make


def test_files_of_one_key_belong_together(desk, source):
    files = {
        "b/000.cls": b"7\n",
        "b/000.png": png(0),
        "b/000.txt": b" a caption \n",
        "a.json": b'{"label": "l", "caption": "c"}',
        "a.JPG": png(1),
        "c.png": png(2),
        "c.seg.png": png(3),
        "d.txt": b"alone",
        "b/001.cls": b"8",
        "b/001.webp": b"?",
        "c.json": b'{"label": true, "caption": ["x"]}',
    }
    dataset = desk.register(source(tar_of(files)))
    assert [(s.name, s.label, s.caption) for s in desk.samples(dataset)] == [
        ("a.JPG", "l", "c"),
        ("b/000.png", "7", "a caption"),
        ("c.png", "True", None),
    ]
    assert list(desk.rejected(dataset)) == ["b/001.webp"]
    assert dataset.source == "WebDataset set.tar"


def test_two_pictures_of_one_key_are_both_there(desk, source):
    dataset = desk.register(source(tar_of({"a.webp": png(0), "a.png": png(1), "a.txt": b"both"})))
    assert [(s.name, s.caption) for s in desk.samples(dataset)] == [("a.png", "both"), ("a.webp", "both")]


@pytest.mark.parametrize(
    "text", [b"[" * 200_000, b'{"label": ' + b"1" * 5000 + b"}", b"\xff", b"[]", b'{"label": {}}', b'{"label": NaN']
)
def test_json_that_says_nothing_is_no_label(source, tmp_path, text):
    source(tar_of({"a.png": png(0), "a.json": text}))
    assert list_webdataset(tmp_path / "set.tar").entries[0].label is None


def test_a_label_that_no_database_takes_is_made_one(desk, source):
    dataset = desk.register(source(tar_of({"a.png": png(0), "a.json": b'{"label": "x\\ud800\\u0000y"}'})))
    assert dataset.labels == ["x?y"]


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.GNUTYPE_SPARSE],
)
def test_links_devices_and_sparse_members_are_refused(desk, source, kind):
    member = tarfile.TarInfo("a.png")
    member.type, member.linkname = kind, "/etc/passwd"
    with pytest.raises((UnsafeArchive, UnreadableSource)):
        desk.plan(source(tar_of({"b.png": png(0), member: b""})))


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "a/../../b.png", "a\n.png"])
def test_names_that_lead_out_are_refused(desk, source, name):
    with pytest.raises(UnsafeArchive, match="leads out"):
        desk.plan(source(tar_of({name: png(0)})))


def test_a_name_that_is_no_text_is_refused(desk, source):
    body = tar_of({"a.png": png(0)}).replace(b"a.png", b"\xff.png")
    header = bytearray(body[:512])
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    with pytest.raises(UnsafeArchive, match="cannot be shown"):
        desk.plan(source(bytes(header) + body[512:]))


def test_what_is_no_plain_tar_is_refused(desk, source):
    whole = tar_of({"a.png": png(0), "b.png": bytes(5000)})
    for body in (b"", b"x" * 2000, tar_of({"a.png": png(0)}, "w:gz"), whole[:4000]):
        with pytest.raises(UnreadableSource):
            desk.plan(source(body))


def test_a_tar_that_changes_after_the_plan_is_refused(desk, source):
    plan = desk.plan(source(tar_of({"a.png": png(0)})))
    source(tar_of({"x.txt": b"first", "a.png": png(1)}))
    with pytest.raises(UnreadableSource, match="changed"):
        desk.run(plan)


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_no_flipped_bytes_break_anything_but_the_tar(tmp_path_factory, data):
    body = bytearray(tar_of({"a.png": b"picture", "a.json": b'{"label": 1}', "b/c.png": b"x"})[:4096])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "flipped.tar"
    path.write_bytes(body)
    with suppress(XsysError):
        list(read_tar(list_webdataset(path).entries))
