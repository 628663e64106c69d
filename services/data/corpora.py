"""Text corpora: planned by content, read in one part, published as datasets whose samples are windows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue, TypeAdapter

from contracts.base import Caller, Page
from contracts.corpora import CorpusTooLarge, DemoTextSource, Passage, Split, TextSource, TooFewDocuments
from contracts.data import Dataset, DatasetRef, DatasetRegistration, RejectedFile
from contracts.errors import InvalidRequest, UnreadableSource
from services.data.readers.documentation import read_documentation, versions_of
from services.data.readers.texts import read_texts, text_files
from services.data.repository import dataset_row, publish_dataset
from services.data.service import Data, digest_of
from services.kit.artifacts import the_artifact
from services.kit.corpora import Corpus, Document, load_corpus, split_documents, write_corpus
from services.kit.cursors import decode_cursor, encode_cursor
from services.kit.keys import artifact_key, sha256_of, sha256_of_file
from services.kit.stages import JobPlan, PartPlan, StagePlan, StageRegistry, Work

STAGE = "corpus"
LIMIT = 512 << 20  # bytes of files
FEWEST = 3
SOURCES: TypeAdapter[TextSource | DemoTextSource] = TypeAdapter(TextSource | DemoTextSource)


def plan_corpus(
    body: DatasetRegistration, source: TextSource | DemoTextSource, *, data: Data, caller: Caller,
    registry: StageRegistry,
) -> JobPlan:  # fmt: skip
    """Plan a corpus; `source` has been resolved and may be read by the caller.

    Raises
    ------
    UnreadableSource, CorpusTooLarge.
    """
    files: list[dict[str, JsonValue]] = []
    if isinstance(source, TextSource):
        found = text_files(source)
        size = sum(path.stat().st_size for path in found)
        if size > LIMIT:
            raise CorpusTooLarge(f"{size:,} bytes", field="source.path", limit=LIMIT)
        root = Path(source.path) if Path(source.path).is_dir() else Path(source.path).parent
        files = [{"name": path.relative_to(root).as_posix(), "sha256": sha256_of_file(path)} for path in found]
        title, content = f"text of {Path(source.path).name}", sha256_of(files)
    else:
        title, content = "documentation of Python and its packages", sha256_of(versions_of(source))
    told = source.model_dump(mode="json", exclude={"path"})
    deciding: dict[str, dict[str, JsonValue]] = {"manifest": {}, "rejected": {}, "dataset": {"name": body.name}}
    keys = {
        output: artifact_key(
            STAGE, version=registry.version(STAGE), inputs=[content], params={**told, **params}, output=output
        )
        for output, params in deciding.items()
    }
    spec: dict[str, JsonValue] = {
        "name": body.name, "title": title, "source": source.model_dump(mode="json"), "files": list[JsonValue](files),
    }  # fmt: skip
    stage = StagePlan(STAGE, (PartPlan(spec, {}, keys),), queue="io", title="read, cut and split")
    return JobPlan("dataset", f"{body.name}: {title}", (stage,), data.registered(caller, keys["dataset"]))


def read_corpus(work: Work) -> None:
    """Read all documents, leave out empty and doubled ones, split them, and publish the dataset.

    Raises
    ------
    UnreadableSource : a file changed since it was planned. TooFewDocuments : fewer than three different ones.
    """
    source = SOURCES.validate_python(work.spec["source"])
    documents, rejected, doubled = sorted_out(_read(source, work))
    if len(documents) < FEWEST:
        raise TooFewDocuments(f"{len(documents)} different documents", field="source", documents=len(documents))
    split = split_documents(documents, window=source.window, seed=source.seed)
    with work.writing("manifest") as path:
        write_corpus(path, split, window=source.window)
    work.emit_record("rejected", {"rejected": [each.model_dump() for each in rejected]})
    order = sha256_of([[each.name, each.sha256, each.split, each.licence] for each in split] + [source.window])
    dataset = Dataset(
        kind="text",
        ref=DatasetRef(
            id=f"d_{order[:16]}", name=str(work.spec["name"]), order_sha256=order,
            content_sha256=digest_of(sorted(each.sha256 for each in split)), n=len(Corpus(split, source.window)),
        ),
        source=str(work.spec["title"]), labels=[], n_captions=0, n_groups=len(split), n_duplicates=doubled,
        n_rejected=len(rejected), lineage=work.keys["manifest"], created_at=datetime.now(UTC),
    )  # fmt: skip
    keys = {"manifest": work.keys["manifest"], "rejected": work.keys["rejected"]}
    work.emit_record("dataset", {"id": dataset.ref.id})
    work.when_published(lambda db: publish_dataset(db, work.workspace, dataset, **keys))
    work.result = dataset.ref.id
    work.advance(1)


def sorted_out(found: Iterable[Document | RejectedFile]) -> tuple[list[Document], list[RejectedFile], int]:
    """Separate documents, what was skipped, and the number of those skipped because an earlier one is the same."""
    documents: dict[str, Document] = {}
    rejected: list[RejectedFile] = []
    doubled = 0
    for each in found:
        if isinstance(each, RejectedFile):
            rejected.append(each)
        elif not each.text.strip():
            rejected.append(RejectedFile(name=each.name, reason="NoTokens", detail="it holds no text"))
        elif each.sha256 in documents:
            earlier = documents[each.sha256].name
            rejected.append(RejectedFile(name=each.name, reason="Conflict", detail=f"the same text as {earlier}"))
            doubled += 1
        else:
            documents[each.sha256] = each
    return list(documents.values()), rejected, doubled


def _read(source: TextSource | DemoTextSource, work: Work) -> Iterable[Document | RejectedFile]:
    if isinstance(source, DemoTextSource):
        return read_documentation(source)
    files = text_files(source)
    due = [dict(record)["sha256"] for record in list(work.spec["files"])]  # type: ignore[arg-type, call-overload]
    if [sha256_of_file(path) for path in files] != due:
        raise UnreadableSource("files changed while they were registered", field="source.path")
    return read_texts(source, files)


def corpus_of(data: Data, caller: Caller, dataset: str) -> Corpus:
    """Open a corpus. Raises `UnknownDataset`, `HoldsPictures`."""
    with data.database.reading() as db:
        row = dataset_row(db, caller.workspace, dataset)
        blob = the_artifact(db, caller.workspace, row.manifest).blob
    return load_corpus(data.blobs.open(blob))


def page_of(
    data: Data, caller: Caller, dataset: str, split: Split | None, limit: int, cursor: str | None
) -> Page[Passage]:
    """List windows in order."""
    corpus = corpus_of(data, caller, dataset)
    indices = corpus.indices(split)
    start = 0
    if cursor is not None:
        (place,) = decode_cursor(cursor, length=1)
        if not isinstance(place, int) or place < 0:
            raise InvalidRequest("this cursor belongs to another listing", field="cursor")
        start = place
    more = start + limit < len(indices)
    items = list(corpus.passages(indices[start : start + limit]))
    return Page[Passage](items=items, next=encode_cursor([start + limit]) if more else None)
