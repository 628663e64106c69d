import pytest

from contracts.errors import UnknownSample
from services.kit.corpora import Corpus, Document, split_documents, windows_of, write_corpus


def documents(sizes):
    return [Document(f"d{number}", chr(97 + number % 26) * size) for number, size in enumerate(sizes)]


def test_windows_cover_a_document_and_a_short_rest_is_left_out():
    assert windows_of(512, 256) == [(0, 256), (256, 512)]
    assert windows_of(512 + 64, 256)[-1] == (512, 576)
    assert windows_of(512 + 63, 256)[-1] == (256, 512)
    assert windows_of(10, 256) == [(0, 10)]
    assert windows_of(0, 256) == []


def test_documents_are_split_whole_by_number_of_windows():
    split = split_documents(documents([256 * (1 + n % 7) for n in range(200)]), window=256, seed=0)
    shares = {name: 0 for name in ("train", "validation", "test")}
    for each in split:
        shares[each.split] += len(windows_of(len(each.text), 256))
    total = sum(shares.values())
    assert shares["train"] / total == pytest.approx(0.6, abs=0.02)
    assert shares["validation"] / total == pytest.approx(0.2, abs=0.02)


def test_the_split_depends_on_text_and_seed_and_not_on_names_or_order():
    plain = documents([300 + n for n in range(20)])
    first = {each.sha256: each.split for each in split_documents(plain, window=256, seed=0)}
    renamed = [Document(f"x{each.name}", each.text) for each in reversed(plain)]
    assert {each.sha256: each.split for each in split_documents(renamed, window=256, seed=0)} == first
    assert {each.sha256: each.split for each in split_documents(plain, window=256, seed=1)} != first


@pytest.mark.parametrize("sizes", [[1000, 1, 1], [1, 1, 10_000], [5, 5, 5]])
def test_three_documents_are_enough_for_three_splits(sizes):
    texts = [Document(f"d{n}", f"{n}" * size) for n, size in enumerate(sizes)]
    assert {each.split for each in split_documents(texts, window=256, seed=3)} == {"train", "validation", "test"}


def test_a_corpus_read_back_is_the_corpus_that_was_written(tmp_path):
    kept = [Document("a", "x" * 300, "PSF-2.0", "train"), Document("b", "é東🙂" * 100, None, "test")]
    for name in ("one", "two"):
        write_corpus(tmp_path / name, kept, window=128)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    corpus = Corpus.load(tmp_path / "one")
    assert corpus.documents == kept and corpus.window == 128
    assert len(corpus) == 3 + 3
    last = corpus.passage(len(corpus) - 1)
    assert (last.document, last.start, last.split) == ("b", 256, "test")
    assert last.text == kept[1].text[last.start : last.stop]
    assert corpus.indices("train") == [0, 1, 2] and corpus.indices("test") == [3, 4, 5]
    with pytest.raises(UnknownSample):
        corpus.passage(len(corpus))
