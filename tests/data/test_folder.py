"""Datasets of a folder: what is a label, what is a caption, what decides the order and the id."""

import hashlib
import io
import os

import numpy as np
import pytest
from PIL import Image

from contracts.errors import UnreadableSource
from services.data.readers.folder import list_folder, read_files
from services.kit.masks import decode_mask
from tests.data.desk import caller, png


def of(root):
    return {"kind": "folder", "path": str(root)}


def names(listing):
    return [entry.name for entry in listing.entries]


def test_sub_folders_are_labels_and_pictures_at_the_top_have_none(desk, folder):
    root = folder({"b.png": png(0), "cats/deep/a.png": png(1), "dogs/a.png": png(2)})
    dataset = desk.register(of(root))
    assert [(sample.name, sample.label) for sample in desk.samples(dataset)] == [
        ("b.png", None), ("cats/deep/a.png", "cats"), ("dogs/a.png", "dogs"),
    ]  # fmt: skip
    assert dataset.labels == ["cats", "dogs"]
    assert (dataset.ref.n, dataset.n_captions, dataset.n_groups, dataset.n_rejected) == (3, 0, 0, 0)
    assert dataset.source == "folder pictures"


def test_captions_come_from_the_table_first_and_from_the_sidecar_else(desk, folder):
    table = "file,caption\ncats/a.png,by its path\nb.png,by its name\nc.png,\n".encode("utf-8-sig")
    root = folder(
        {"captions.csv": table, "cats/a.png": png(0), "cats/b.png": png(1), "c.png": png(2), "d.png": png(3),
         "cats/a.txt": b"not taken", "c.txt": b"  of the \xff file \n", "d.txt": b" \n"}
    )  # fmt: skip
    dataset = desk.register(of(root))
    assert {sample.name: sample.caption for sample in desk.samples(dataset)} == {
        "c.png": "of the \ufffd file", "cats/a.png": "by its path", "cats/b.png": "by its name", "d.png": None,
    }  # fmt: skip
    assert dataset.n_captions == 3


@pytest.mark.parametrize("table", [b"name,text\na.png,x\n", b"file,caption\na.png,\xff\n"])
def test_a_table_of_captions_that_cannot_be_read_is_refused(folder, table):
    with pytest.raises(UnreadableSource, match=r"captions\.csv"):
        list_folder(folder({"captions.csv": table, "a.png": png(0)}))


def test_the_order_is_by_name_whenever_the_files_were_made(desk, folder):
    wanted = ["10.png", "2.png", "B.png", "a.png", "a/x.png"]
    first = list_folder(folder({name: png(0) for name in wanted}, "one"))
    second = list_folder(folder({name: png(0) for name in reversed(wanted)}, "two"))
    assert names(first) == names(second) == wanted
    assert first.sha256 == second.sha256


def test_links_that_lead_out_are_left_out_with_their_captions_too(desk, folder, tmp_path):
    secret = folder({"secret.png": png(9), "secret.txt": b"a password"}, "elsewhere")
    root = folder({"a.png": png(0), "inside/b.png": png(1)})
    os.symlink(secret / "secret.png", root / "out.png")
    os.symlink(secret / "secret.txt", root / "a.txt")
    os.symlink(secret, root / "below")
    os.symlink(root / "inside" / "b.png", root / "c.png")
    os.symlink(root / "loop.png", root / "loop.png")
    os.symlink(root / "nothing.png", root / "dangling.png")
    entries = list_folder(root).entries
    assert [(entry.name, entry.caption) for entry in entries] == [
        ("a.png", None), ("c.png", None), ("inside/b.png", None),
    ]  # fmt: skip


def test_a_table_of_captions_that_is_a_link_out_is_not_read(folder):
    secret = folder({"t.csv": b"file,caption\na.png,secret\n"}, "elsewhere")
    root = folder({"a.png": png(0)})
    os.symlink(secret / "t.csv", root / "captions.csv")
    assert list_folder(root).entries[0].caption is None


def test_hidden_files_and_folders_and_other_files_are_left_out(folder):
    files = {".a.png": b"", ".git/b.png": b"", "notes.md": b"", "c.PNG": png(0), "d.gif": b"GIF89a"}
    assert names(list_folder(folder(files))) == ["c.PNG", "d.gif"]


def test_a_pipe_named_like_a_picture_blocks_nobody(folder):
    root = folder({"a.png": png(0)})
    os.mkfifo(root / "b.png")
    os.mkfifo(root / "a.txt")
    assert names(list_folder(root)) == ["a.png"]


def test_a_name_that_is_no_text_is_refused_and_not_dropped(folder):
    root = folder({"a.png": png(0)})
    with open(os.fsencode(root) + b"/\xff.png", "wb") as file:
        file.write(png(1))
    with pytest.raises(UnreadableSource, match="cannot be read"):
        list_folder(root)


def test_the_same_pictures_in_another_folder_are_the_same_dataset(desk, folder):
    files = {"cats/a.png": png(0), "dogs/b.png": png(1)}
    one, two = folder(files, "one"), folder(files, "two")
    first = desk.plan(of(one))
    made = desk.run(first)
    again = desk.plan(of(two))
    assert [part.outputs for stage in first.stages for part in stage.parts] == [
        part.outputs for stage in again.stages for part in stage.parts
    ]
    assert again.result == made.ref.id, "what is there already is known before anything runs"
    assert first.result is None
    assert desk.run(again).ref == made.ref


@pytest.mark.parametrize(
    "change", [{"a.png": png(5)}, {"new.png": png(0)}, {"a.txt": b"words"}, {"sub/a.png": png(0)}], ids=str
)
def test_any_change_gives_other_keys(desk, folder, change):
    root = folder({"a.png": png(0), "b.png": png(1)})
    before = desk.plan(of(root)).stages[1].parts[0].outputs
    folder(change)
    after = desk.plan(of(root)).stages[1].parts[0].outputs
    assert not set(before.values()) & set(after.values())


def test_a_file_that_changes_after_the_plan_is_refused(desk, folder):
    root = folder({"a.png": png(0)})
    plan = desk.plan(of(root))
    (root / "a.png").write_bytes(png(1))
    with pytest.raises(UnreadableSource, match="changed"):
        desk.run(plan)
    (root / "a.png").unlink()
    with pytest.raises(UnreadableSource, match="changed"):
        desk.run(plan)


def test_reading_yields_the_very_bytes(folder):
    listing = list_folder(folder({"a.png": b"anything", "b.png": png(1)}))
    assert list(read_files(listing.entries)) == [b"anything", png(1)]
    assert listing.entries[0].where["sha256"] == hashlib.sha256(b"anything").hexdigest()


def test_a_folder_without_pictures_or_none_at_all_is_refused(desk, folder, tmp_path):
    for path in (tmp_path / "nowhere", folder({"a.md": b""}), tmp_path / ("x" * 300), "\0", "~nobody-here/x"):
        with pytest.raises(UnreadableSource):
            desk.plan({"kind": "folder", "path": str(path)})


def mask_png(width, height, columns):
    mask = np.zeros((height, width), np.uint8)
    mask[:, :columns] = 255
    out = io.BytesIO()
    Image.fromarray(mask).save(out, "PNG")
    return out.getvalue()


def test_masks_lie_beside_their_pictures_and_a_mask_of_nothing_is_a_picture(desk, folder):
    with Image.open(io.BytesIO(png(0))) as picture:
        width, height = picture.size
    files = {
        "cats/a.png": png(0), "cats/a.mask-object.png": mask_png(width, height, 3),
        "cats/a.mask-tag.png": mask_png(width, height, 0), "cats/b.png": png(1), "cats/c.mask-object.png": png(2),
    }  # fmt: skip
    dataset = desk.register(of(folder(files)))
    assert {sample.name: sample.masks for sample in desk.samples(dataset)} == {
        "cats/a.png": ["object", "tag"], "cats/b.png": [], "cats/c.mask-object.png": [],
    }  # fmt: skip
    mask = decode_mask(desk.data.mask(caller(), dataset.ref.id, 0, "object").body)
    assert mask.shape == (height, width) and mask[:, :3].all() and not mask[:, 3:].any()
    files["cats/a.mask-object.png"] = mask_png(width, height, 4)
    other = desk.register(of(folder(files, "redrawn")), "redrawn")
    assert other.ref.id != dataset.ref.id, "another mask is another dataset"


def test_a_mask_of_another_size_or_kind_rejects_its_picture(desk, folder):
    files = {"a.png": png(0), "a.mask-x.png": mask_png(2, 3, 1), "b.png": png(1), "b.mask-x.png": b"no picture"}
    dataset = desk.register(of(folder({**files, "c.png": png(2)})))
    assert dataset.ref.n == 1 and dataset.n_rejected == 2
    found = desk.rejected(dataset)
    assert "its mask x has 2 × 3 pixels" in found["a.png"][1] and "its mask x: " in found["b.png"][1]
