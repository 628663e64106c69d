"""What can be asked about datasets, and what is refused."""

import io

import pytest
from PIL import Image

from contracts.errors import CorruptArtifact, InvalidRequest, UnknownDataset, UnknownSample
from services.data.service import Data
from services.kit.blobs import Blobs
from services.kit.cursors import encode_cursor
from services.kit.pictures import decode_picture
from tests.data.desk import caller, encoded, picture, png


@pytest.fixture
def dataset(desk, folder):
    files = {f"{n}.png": png(n) for n in range(5)} | {f"bad{n}.png": b"" for n in range(5)}
    return desk.register({"kind": "folder", "path": str(folder(files))})


def pages(listing, limit):
    cursor, found = None, []
    while True:
        page = listing(limit=limit, cursor=cursor)
        assert len(page.items) <= limit
        found.append(page.items)
        if page.next is None:
            return found
        cursor = page.next


@pytest.mark.parametrize("limit", [1, 2, 5, 200])
def test_every_sample_and_every_rejected_file_is_on_exactly_one_page(desk, dataset, limit):
    def of(method):
        return pages(lambda **place: method(caller(), "set", **place), limit)

    samples, rejected = of(desk.data.samples), of(desk.data.rejected)
    assert [sample.index for page in samples for sample in page] == [0, 1, 2, 3, 4]
    assert [file.name for page in rejected for file in page] == [f"bad{n}.png" for n in range(5)]
    assert len(samples) == len(rejected) == -(-5 // limit), "no empty last page"


def test_datasets_are_listed_newest_first_page_by_page(desk, folder):
    made = [
        desk.register({"kind": "folder", "path": str(folder({"a.png": png(n)}, f"f{n}"))}, f"n{n}") for n in range(5)
    ]
    for limit in (1, 2, 5, 6):
        found = pages(lambda **place: desk.data.datasets(caller(), **place), limit)
        assert [dataset for page in found for dataset in page] == made[::-1]


def test_datasets_of_the_same_moment_are_each_listed_once(desk, folder):
    from sqlalchemy import update

    from services.data.rows import DatasetRow

    made = [
        desk.register({"kind": "folder", "path": str(folder({"a.png": png(n)}, f"f{n}"))}, f"n{n}") for n in range(4)
    ]
    with desk.data.database.writing() as db:
        db.execute(update(DatasetRow).values(created_at=made[0].created_at))
    found = [dataset for page in pages(lambda **p: desk.data.datasets(caller(), **p), 1) for dataset in page]
    assert sorted(dataset.ref.id for dataset in found) == sorted(dataset.ref.id for dataset in made)


RUBBISH = [
    "",
    "x",
    "%%%",
    "é",
    "W10",
    encode_cursor([]),
    encode_cursor([1, 2, 3]),
    encode_cursor([None]),
    encode_cursor(["a"]),
    encode_cursor([-1]),
    encode_cursor([1.5]),
    encode_cursor(["yesterday", "d_1"]),
    encode_cursor([None, None]),
    encode_cursor(["0001-01-01T00:00:00+23:00", "d_1"]),
    encode_cursor([1e308, 1]),
]


@pytest.mark.parametrize("cursor", RUBBISH)
def test_a_cursor_that_no_listing_made_is_refused(desk, dataset, cursor):
    with pytest.raises(InvalidRequest) as refusal:
        desk.data.datasets(caller(), cursor=cursor)
    assert refusal.value.field == "cursor"
    for listing in (desk.data.samples, desk.data.rejected):
        with pytest.raises(InvalidRequest):
            listing(caller(), "set", cursor=cursor)


def test_a_cursor_behind_the_end_is_an_empty_last_page(desk, dataset):
    for listing in (desk.data.samples, desk.data.rejected):
        page = listing(caller(), "set", cursor=encode_cursor([2**62]))
        assert (page.items, page.next) == ([], None)


def test_a_dataset_is_found_by_id_and_by_name_and_the_id_wins(desk, dataset, folder):
    assert desk.data.dataset(caller(), "set") == desk.data.dataset(caller(), dataset.ref.id) == dataset
    impostor = desk.register({"kind": "folder", "path": str(folder({"x.png": png(7)}, "f"))}, dataset.ref.id)
    assert desk.data.dataset(caller(), dataset.ref.id) == dataset
    assert desk.data.dataset(caller(), impostor.ref.id) == impostor


def test_nothing_of_another_workspace_exists(desk, dataset):
    foreign, data = caller("theirs"), desk.data
    assert data.datasets(foreign).items == []
    for name in ("set", dataset.ref.id, "nothing", "", "' OR 1=1 --"):
        for ask in (data.dataset, data.samples, data.rejected, data.manifest):
            with pytest.raises(UnknownDataset):
                ask(foreign, name)
        for ask in (data.sample, data.picture, data.thumbnail):
            with pytest.raises(UnknownDataset):
                ask(foreign, name, 0)
    assert data.registered(foreign, dataset.lineage) is None


def test_two_workspaces_have_their_own_dataset_of_the_same_pictures(desk, dataset, folder):
    theirs = desk.register({"kind": "folder", "path": str(folder({}))}, "set", workspace="theirs")
    assert theirs.ref == dataset.ref
    assert desk.samples(theirs, "theirs") == desk.samples(dataset)


def test_a_sample_that_is_not_there_is_unknown(desk, dataset):
    for ask in (desk.data.sample, desk.data.picture, desk.data.thumbnail):
        for index in (5, -1, 2**31):
            with pytest.raises(UnknownSample) as refusal:
                ask(caller(), "set", index)
            assert refusal.value.facts == {"n": 5}


def test_pictures_and_thumbnails_come_with_type_and_etag(desk, folder):
    files = {"a.png": encoded(picture(0, 400, 200)), "b.jpg": encoded(picture(1), "JPEG"), "c.png": png(2)}
    dataset = desk.register({"kind": "folder", "path": str(folder(files))}, part_size=2)
    whole = [desk.data.picture(caller(), "set", index) for index in range(3)]
    small = [desk.data.thumbnail(caller(), "set", index) for index in range(3)]
    assert [kept.media_type for kept in whole] == ["image/png", "image/jpeg", "image/png"]
    assert {kept.media_type for kept in small} == {"image/webp"}
    assert decode_picture(whole[0].body).tobytes() == picture(0, 400, 200).tobytes()
    assert [Image.open(io.BytesIO(kept.body)).size for kept in small] == [(160, 80), (24, 16), (24, 16)]
    assert len({kept.etag for kept in whole + small}) == 6
    assert whole[0].etag == desk.samples(dataset)[0].sha256[:24]
    assert desk.data.picture(caller(), "set", 0) == whole[0]


@pytest.mark.parametrize("kind", ["pictures", "thumbnails"])
def test_a_flipped_byte_in_a_pack_is_noticed(desk, dataset, kind):
    manifest = desk.data.manifest(caller(), "set")
    pack = manifest._columns[kind][0]
    path = desk.data.blobs.path(pack)
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(body)
    fresh = Data(desk.data.database, Blobs(desk.data.blobs.root), desk.data.settings)
    ask = fresh.picture if kind == "pictures" else fresh.thumbnail
    for _ in range(2):
        with pytest.raises(CorruptArtifact):
            ask(caller(), "set", 0)
    assert fresh.sample(caller(), "set", 0).name == "0.png", "the manifest itself is intact"


@pytest.mark.parametrize("name", ["manifest", "rejected"])
def test_a_flipped_byte_in_the_manifest_is_noticed(desk, dataset, name):
    from services.data.repository import dataset_row
    from services.kit.artifacts import the_artifact

    with desk.data.database.reading() as db:
        blob = the_artifact(db, "w", getattr(dataset_row(db, "w", "set"), name)).blob
    desk.data.blobs.path(blob).write_bytes(b"{}")
    fresh = Data(desk.data.database, Blobs(desk.data.blobs.root), desk.data.settings)
    with pytest.raises(CorruptArtifact):
        (fresh.samples if name == "manifest" else fresh.rejected)(caller(), "set")
