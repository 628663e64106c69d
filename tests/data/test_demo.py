"""The demo's crops: 1,056 of 22 photographs, the same on every run."""

from collections import Counter

import numpy as np
from PIL import Image

from contracts.data import DemoSource
from services.data.readers.demo import PHOTOGRAPHS, SIDE, list_demo, path_of, read_demo
from services.kit.pictures import decode_picture
from tests.data.desk import caller


def test_the_default_is_48_crops_of_each_of_22_photographs():
    listing = list_demo(DemoSource())
    assert len(listing.entries) == 1056
    counts = Counter(entry.group for entry in listing.entries)
    assert len(counts) == len(PHOTOGRAPHS) == 22 and set(counts.values()) == {48}
    assert len({entry.name for entry in listing.entries}) == 1056
    assert len({entry.label for entry in listing.entries}) == 22


def test_the_boxes_are_squares_inside_their_photograph_and_decided_by_the_seed():
    sizes = {path_of(photograph).stem: Image.open(path_of(photograph)).size for photograph in PHOTOGRAPHS}
    listing = list_demo(DemoSource(crops=220, seed=5))
    for entry in listing.entries:
        left, top, right, bottom = entry.box
        width, height = sizes[entry.group]
        assert 0 <= left < right <= width and 0 <= top < bottom <= height and right - left == bottom - top
        assert 0.34 <= (right - left) / min(width, height) <= 1
    assert list_demo(DemoSource(crops=220, seed=5)) == listing
    assert list_demo(DemoSource(crops=220, seed=6)).sha256 != listing.sha256


def test_crops_that_do_not_divide_evenly_go_to_the_first_photographs():
    counts = Counter(entry.group for entry in list_demo(DemoSource(crops=24)).entries)
    assert sum(counts.values()) == 24 and sorted(counts.values())[-3:] == [1, 2, 2]


def test_a_crop_has_the_pixels_of_its_box():
    entries = [e for e in list_demo(DemoSource(crops=66)).entries if e.box[2] - e.box[0] <= SIDE]
    assert len(entries) > 10
    for entry, data in zip(entries, read_demo(entries), strict=True):
        photograph = next(p for p in PHOTOGRAPHS if path_of(p).stem == entry.group)
        whole = Image.open(path_of(photograph))
        wanted = whole.convert("L").convert("RGB") if whole.mode == "1" else whole.convert("RGB")
        assert np.array_equal(np.asarray(decode_picture(data)), np.asarray(wanted.crop(entry.box)))


def test_the_dataset_has_group_box_and_label_everywhere_and_equal_bytes_on_two_runs(desk):
    plan = desk.plan({"kind": "demo", "crops": 44, "seed": 1}, part_size=16)
    first = [desk.run_part("ingest", part).emitted for part in plan.stages[0].parts]
    assert [desk.run_part("ingest", part).emitted for part in plan.stages[0].parts] == first
    work = desk.run_part("manifest", plan.stages[1].parts[0])
    dataset = desk.data.dataset(caller(), work.result)
    assert (dataset.ref.n, dataset.n_groups, len(dataset.labels), dataset.n_rejected) == (44, 22, 22, 0)
    for sample in desk.samples(dataset):
        assert sample.group and sample.label and sample.box
        side = min(sample.box.right - sample.box.left, SIDE)
        assert (sample.width, sample.height) == (side, side)
