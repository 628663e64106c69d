"""Text corpora, from a folder, JSONL, Parquet and the installed documentation to published windows."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.corpora import CorpusTooLarge, DemoTextSource, HoldsPictures, HoldsText, TextSource, TooFewDocuments
from contracts.errors import Conflict, PathNotAllowed, UnreadableSource
from services.data import corpora
from services.data.readers.documentation import docstrings_of, read_documentation
from services.data.readers.texts import plain
from tests.data.desk import caller, png

FILES = {f"{name}.txt": (f"{name} " * 100).encode() for name in ("apple", "brick", "cloud", "dough", "eagle")}


def of(path, **options):
    return {"kind": "text", "path": str(path), **options}


def all_passages(desk, dataset, **options):
    found, cursor = [], None
    while True:
        page = desk.data.passages(caller(), dataset.ref.id, limit=7, cursor=cursor, **options)
        found += page.items
        if (cursor := page.next) is None:
            return found


def test_a_folder_of_text_becomes_windows_split_by_document(desk, folder):
    dataset = desk.register(of(folder(FILES), window=128))
    passages = all_passages(desk, dataset)
    assert dataset.kind == "text" and dataset.ref.n == len(passages) == 25 and dataset.n_groups == 5
    assert passages[0].text == ("apple " * 100)[:128] and passages[0].document == "apple.txt"
    splits = {passage.document: passage.split for passage in passages}
    assert set(splits.values()) == {"train", "validation", "test"}
    assert len({(passage.document, passage.split) for passage in passages}) == 5
    train = all_passages(desk, dataset, split="train")
    assert train == [passage for passage in passages if passage.split == "train"]


def test_no_document_of_the_test_split_is_in_training_under_another_name(desk, folder):
    doubled = FILES | {"copy of apple.txt": FILES["apple.txt"].replace(b" ", b" ") + b"\n"}
    dataset = desk.register(of(folder(doubled)))
    assert dataset.n_duplicates == 1 and dataset.n_groups == 5
    by_split = {}
    for passage in all_passages(desk, dataset):
        by_split.setdefault(passage.document_sha256, set()).add(passage.split)
    assert all(len(splits) == 1 for splits in by_split.values())
    assert desk.rejected(dataset)["copy of apple.txt"] == ("Conflict", "the same text as apple.txt")


def test_jsonl_and_parquet_hold_a_document_a_line_or_row(desk, tmp_path):
    texts = [value.decode().strip() for value in FILES.values()]
    lines = [json.dumps({"body": text, "key": number}) for number, text in enumerate(texts)]
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, "", "{broken", '{"body": 3}', '{"body": "  "}']))
    pq.write_table(pa.table({"body": texts, "key": range(5)}), tmp_path / "a.parquet")
    first = desk.register(of(tmp_path / "a.jsonl", text="body", id="key"), "lines")
    assert desk.rejected(first) == {
        "line 7": ("UnreadableSource", "no JSON"),
        "line 8": ("UnreadableSource", "`body` is no text"),
        "line 9": ("NoTokens", "it holds no text"),
    }
    assert {passage.document for passage in all_passages(desk, first)} == {"0", "1", "2", "3", "4"}
    with pytest.raises(Conflict, match="registered already, as lines"):
        desk.register(of(tmp_path / "a.parquet", text="body", id="key"), "rows")
    with pytest.raises(UnreadableSource) as refused:
        desk.register(of(tmp_path / "a.parquet"), "other")
    assert refused.value.facts["columns"] == ["body", "key"]


def test_the_same_files_elsewhere_are_the_same_corpus_and_another_window_is_another(desk, folder):
    first = desk.plan(of(folder(FILES, "one")))
    assert desk.plan(of(folder(FILES, "two"))).stages[0].parts[0].outputs == first.stages[0].parts[0].outputs
    other = desk.plan(of(folder(FILES, "two"), window=64)).stages[0].parts[0].outputs
    assert not set(other.values()) & set(first.stages[0].parts[0].outputs.values())
    dataset = desk.run(first)
    assert desk.plan(of(folder(FILES, "two"))).result == dataset.ref.id


def test_text_is_kept_plain():
    assert plain("\ufeffa\r\nb\rc\0" + " " * 40 + "d\n\n") == "a\nb\nc" + " " * 16 + "d"


def test_files_that_are_no_utf8_are_skipped_and_hidden_ones_not_seen(desk, folder):
    dataset = desk.register(of(folder(FILES | {"latin.txt": b"caf\xe9", ".secret.txt": b"x", "a.png": b"x"})))
    assert desk.rejected(dataset) == {"latin.txt": ("UnreadableSource", "no UTF-8 at byte 3")}


def test_what_cannot_be_a_corpus_is_refused(desk, folder, tmp_path, monkeypatch):
    with pytest.raises(UnreadableSource, match=r"no \.txt"):
        desk.plan(of(folder({"a.png": b"x"}, "empty")))
    with pytest.raises(TooFewDocuments):
        desk.register(of(folder({"a.txt": b"x", "b.txt": b"y", "c.txt": b"y"}, "few")))
    with pytest.raises(PathNotAllowed):
        desk.plan(of(folder(FILES)), me=caller())
    monkeypatch.setattr(corpora, "LIMIT", 100)
    with pytest.raises(CorpusTooLarge) as refused:
        desk.plan(of(folder(FILES)))
    assert refused.value.facts["limit"] == 100


def test_a_file_that_changes_after_planning_is_refused(desk, folder):
    root = folder(FILES)
    plan = desk.plan(of(root))
    (root / "apple.txt").write_text("something else")
    with pytest.raises(UnreadableSource, match="changed"):
        desk.run(plan)


def test_pictures_and_text_are_not_taken_for_each_other(desk, folder):
    text = desk.register(of(folder(FILES)), "texts")
    pictures = desk.register({"kind": "folder", "path": str(folder({"a.png": png(0)}, "p"))}, "pictures")
    with pytest.raises(HoldsPictures):
        desk.data.passages(caller(), pictures.ref.id)
    with pytest.raises(HoldsText):
        desk.data.samples(caller(), text.ref.id)
    with pytest.raises(HoldsText):
        desk.data.thumbnail(caller(), text.ref.id, 0)


def test_docstrings_are_read_without_running_anything():
    inner = b'    """Class."""\n    def f(self):\n        """Function\n\n        more."""\n'
    body = b'"""Module."""\nraise SystemExit\nclass A:\n' + inner
    assert docstrings_of(body) == "Module.\n\nClass.\n\nFunction\n\nmore."
    assert docstrings_of(b"def broken(:") == ""


def test_the_demo_corpus_names_the_licence_of_every_document():
    found = []
    for document in read_documentation(DemoTextSource(packages=[])):
        found.append(document)
        if len(found) == 120:
            break
    assert {document.licence for document in found} == {"PSF-2.0"}
    by_name = {document.name: document.text for document in found}
    assert by_name["python reference/assert"].startswith('The "assert" statement')
    assert any(name.startswith("python/") for name in by_name)


def test_options_beyond_their_range_are_refused_by_the_contract():
    with pytest.raises(ValueError, match="window"):
        TextSource(path="x", window=8)
