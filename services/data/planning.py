"""The plan of a registration: which entries each part reads, keyed by their content."""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from contracts.base import Caller, Right
from contracts.corpora import DemoTextSource, TextSource
from contracts.data import DatasetRegistration, FolderSource, ParquetSource, Source, WebDatasetSource
from contracts.errors import PathNotAllowed, UnreadableSource
from services.data.corpora import plan_corpus
from services.data.readers.port import Listed
from services.data.readers.registry import list_source
from services.data.service import Data
from services.kit.keys import artifact_key, sha256_of
from services.kit.stages import JobPlan, PartPlan, StagePlan, StageRegistry

PART_SIZE = 256
INGEST_OUTPUTS = ("fragment", "pictures", "thumbnails")


def plan_registration(
    body: DatasetRegistration, *, caller: Caller, data: Data, registry: StageRegistry, part_size: int = PART_SIZE
) -> JobPlan:
    """Plan a dataset: parts of at most `part_size` entries, then the manifest.

    Raises
    ------
    PathNotAllowed : a path outside the folders that the operator allows.
    UnreadableSource, UnsafeArchive : the source cannot be listed.
    """
    source = _resolved(body.source, caller, data)
    if isinstance(source, TextSource | DemoTextSource):
        return plan_corpus(body, source, data=data, caller=caller, registry=registry)
    listing = list_source(source, lambda upload: data.upload_path(caller, upload))
    ranges = [listing.entries[start : start + part_size] for start in range(0, len(listing.entries), part_size)]
    settings: dict[str, JsonValue] = {"pixel_limit": data.settings.pixel_limit}
    parts, inputs = [], {}
    for number, entries in enumerate(ranges):
        part = _ingest(source.kind, entries, listing.sha256, settings, registry)
        parts.append(part)
        inputs.update({f"{name}/{number:05d}": part.outputs[name] for name in INGEST_OUTPUTS})
    title = f"{body.name}: {len(listing.entries)} files"
    join = _manifest(body.name, listing.title, inputs, len(parts), registry)
    known = data.registered(caller, join.outputs["dataset"])
    stages = (
        StagePlan("ingest", tuple(parts), unit="pictures", queue="io", title="read pictures"),
        StagePlan("manifest", (join,), title="join"),
    )
    return JobPlan("dataset", title, stages, known)


def _ingest(
    kind: str, entries: list[Listed], digest: str, settings: dict[str, JsonValue], registry: StageRegistry
) -> PartPlan:
    records = [entry.as_json() for entry in entries]
    shown = [{**record, "where": _without_path(entry)} for record, entry in zip(records, entries, strict=True)]
    outputs = {
        name: artifact_key(
            "ingest", version=registry.version("ingest"), inputs=[digest],
            params={"kind": kind, "entries": sha256_of(shown), **settings}, output=name,
        )
        for name in INGEST_OUTPUTS
    }  # fmt: skip
    return PartPlan({"kind": kind, "entries": list[JsonValue](records), **settings}, {}, outputs, units=len(entries))


def _without_path(entry: Listed) -> dict[str, JsonValue]:
    """Where an entry lies, without the folder: the same pictures elsewhere are the same dataset."""
    return {name: value for name, value in entry.where.items() if name not in {"path", "stamp"}}


def _manifest(name: str, title: str, inputs: dict[str, str], parts: int, registry: StageRegistry) -> PartPlan:
    params: dict[str, dict[str, str]] = {"manifest": {}, "rejected": {}, "dataset": {"name": name}}
    outputs = {  # the name is in one key alone: another name publishes another row, and computes nothing again
        output: artifact_key(
            "manifest",
            version=registry.version("manifest"),
            inputs=list(inputs.values()),
            params=deciding,
            output=output,
        )
        for output, deciding in params.items()
    }
    return PartPlan({"name": name, "title": title, "parts": parts}, inputs, outputs)


def _resolved(source: Source, caller: Caller, data: Data) -> Source:
    """Resolve links in a path first, then decide whether it may be read."""
    if not isinstance(source, FolderSource | ParquetSource | WebDatasetSource | TextSource):
        return source
    try:
        path = Path(source.path).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:  # loops of links, unknown homes, NUL
        raise UnreadableSource(f"this is no path: {str(error)[:100]}", field="source.path") from error
    roots = [root.resolve() for root in data.settings.import_roots]
    if Right.SERVER_PATHS not in caller.rights and not any(path.is_relative_to(root) for root in roots):
        raise PathNotAllowed("this path lies outside the folders that may be read for you", field="source.path")
    try:
        path.stat()  # only now: whether something exists elsewhere is not told
    except OSError as error:
        raise UnreadableSource(f"{path.name[:80]}: {error.strerror}", field="source.path") from error
    return source.model_copy(update={"path": str(path)})
