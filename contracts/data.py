"""What may be asked of the data service: datasets, samples, pictures."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Protocol

from pydantic import Field

from contracts.base import Binary, Caller, Contract, Cursor, FiniteFloat, Limit, Name, Page, Right, Sha256, operation
from contracts.corpora import DemoTextSource, HoldsPictures, HoldsText, Passage, Split, TextSource
from contracts.errors import UnknownDataset, UnknownMask, UnknownSample, UnsafeArchive, UploadTooLarge

DatasetId = Annotated[str, Field(min_length=1, max_length=80, description="id (`d_...`) or name of a dataset")]
SampleIndex = Annotated[int, Field(ge=0, lt=2**31)]
MaskName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
Factor = str | bool | int | FiniteFloat


class Box(Contract):
    """A rectangle in pixels of the source picture; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


class Sample(Contract):
    """One picture of a dataset. `index` is its position; `group` names the source photo if several share one.

    `masks` names the pixel masks that come with it; `factors` is what is known to vary in it, by name.
    """

    index: SampleIndex
    sha256: Sha256
    name: str
    label: str | None = None
    caption: str | None = None
    group: str | None = None
    box: Box | None = None
    width: int
    height: int
    duplicate_of: SampleIndex | None = None
    masks: list[MaskName] = []
    factors: dict[str, Factor] = {}


class RejectedFile(Contract):
    """A file that was skipped, with the reason: the name of a refusal class, and a sentence."""

    name: str
    reason: str
    detail: str


class DatasetRef(Contract):
    """What identifies a dataset: everything derived from it has these hashes in its key."""

    id: str
    name: str
    content_sha256: Sha256
    order_sha256: Sha256
    n: int


class Dataset(Contract):
    """A dataset as registered: ordered, immutable. The samples of a text corpus are windows, its groups documents."""

    kind: Literal["pictures", "text"] = "pictures"
    ref: DatasetRef
    source: str
    labels: list[str]
    n_captions: int
    n_groups: int
    n_duplicates: int
    n_rejected: int
    lineage: str = Field(description="key of the manifest artifact")
    created_at: datetime


class FolderSource(Contract):
    """A folder, read recursively: class sub-folders are labels, `captions.csv` or sidecar .txt are captions.

    `tabby.mask-object.png` is the mask `object` of `tabby.jpg`, of its size, white where something is.
    """

    kind: Literal["folder"] = "folder"
    path: str


class ParquetSource(Contract):
    """A Parquet file with an image column (bytes, or struct{bytes}) and optional label and caption columns."""

    kind: Literal["parquet"] = "parquet"
    path: str
    image: str = "image"
    label: str | None = "label"
    caption: str | None = "caption"


class WebDatasetSource(Contract):
    """A WebDataset tar: `KEY.jpg|png|webp` with optional `KEY.txt` (caption), `KEY.cls` (label), `KEY.json`."""

    kind: Literal["webdataset"] = "webdataset"
    path: str


class UploadSource(Contract):
    """A zip that was sent to `POST /uploads` before; inside it the rules of a folder hold."""

    kind: Literal["upload"] = "upload"
    upload: Sha256


class DemoSource(Contract):
    """Seeded crops of the photographs that scikit-image and scikit-learn ship."""

    kind: Literal["demo"] = "demo"
    crops: Annotated[int, Field(ge=22, le=100_000)] = 1056
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


Shape = Literal["circle", "square", "triangle", "star", "cross", "ring"]
ContextKind = Literal["bar", "moon", "chevron", "grid"]
ArtefactKind = Literal["tag", "watermark", "border"]
Strength = Annotated[float, Field(ge=0, le=1)]


class ScenesSource(Contract):
    """Generated scenes with captions, factors and exact pixel masks; the class is the shape of the object.

    An artefact is confounded with one class and a context thing with another. A strength is the correlation (phi)
    between the cue and its class: 0 independent, 1 always and only there; the cue is equally common at every strength.
    """

    kind: Literal["scenes"] = "scenes"
    n: Annotated[int, Field(ge=1, le=100_000, description="number of scenes")] = 2000
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    split: Literal["train", "validation", "test"] = "train"
    side: Annotated[int, Field(ge=32, le=256, description="pixels")] = 64
    artefact: ArtefactKind = "tag"
    confounded: Shape = "triangle"
    strength: Strength = 0.0
    planting: Literal["confounded", "never", "always"] = "confounded"
    context: ContextKind = "moon"
    context_class: Shape = "circle"
    context_strength: Strength = 0.0
    distractors: Annotated[float, Field(ge=0, le=1, description="share of pictures with each other kind")] = 1 / 6
    faint: Annotated[float, Field(ge=0, le=1, description="share of pictures whose object is hardly visible")] = 0.0


Source = Annotated[
    FolderSource
    | ParquetSource
    | WebDatasetSource
    | UploadSource
    | DemoSource
    | ScenesSource
    | TextSource
    | DemoTextSource,
    Field(discriminator="kind"),
]


class DatasetRegistration(Contract):
    """Register pictures or text under a name. The answer is a job whose result names the dataset."""

    name: Name
    source: Source


class Upload(Contract):
    """A received archive, checked and kept until a dataset is made of it."""

    upload: Sha256
    bytes: int
    entries: int


class DataService(Protocol):
    """What may be asked about datasets. Router, client and OpenAPI come from this class."""

    @operation("GET", "/datasets", right=Right.LOOK)
    def datasets(self, caller: Caller, limit: Limit = 50, cursor: Cursor | None = None) -> Page[Dataset]:
        """List the datasets of the workspace, newest first."""
        ...

    @operation("GET", "/datasets/{dataset}", right=Right.LOOK, refuses=(UnknownDataset,))
    def dataset(self, caller: Caller, dataset: DatasetId) -> Dataset:
        """Show one dataset."""
        ...

    @operation("GET", "/datasets/{dataset}/samples", right=Right.LOOK, refuses=(UnknownDataset, HoldsText))
    def samples(
        self, caller: Caller, dataset: DatasetId, limit: Limit = 50, cursor: Cursor | None = None
    ) -> Page[Sample]:
        """List the samples of a dataset in order."""
        ...

    @operation("GET", "/datasets/{dataset}/passages", right=Right.LOOK, refuses=(UnknownDataset, HoldsPictures))
    def passages(
        self, caller: Caller, dataset: DatasetId, split: Split | None = None, limit: Limit = 50,
        cursor: Cursor | None = None,
    ) -> Page[Passage]:  # fmt: skip
        """List the windows of a text corpus in order."""
        ...

    @operation("GET", "/datasets/{dataset}/rejected", right=Right.LOOK, refuses=(UnknownDataset,))
    def rejected(
        self, caller: Caller, dataset: DatasetId, limit: Limit = 50, cursor: Cursor | None = None
    ) -> Page[RejectedFile]:
        """List the files that were skipped, with reasons."""
        ...

    @operation(
        "GET",
        "/datasets/{dataset}/samples/{index}",
        right=Right.LOOK,
        refuses=(UnknownDataset, UnknownSample, HoldsText),
    )
    def sample(self, caller: Caller, dataset: DatasetId, index: SampleIndex) -> Sample:
        """Show one sample."""
        ...

    @operation(
        "GET",
        "/datasets/{dataset}/samples/{index}/thumbnail",
        right=Right.LOOK,
        refuses=(UnknownDataset, UnknownSample, HoldsText),
    )
    def thumbnail(self, caller: Caller, dataset: DatasetId, index: SampleIndex) -> Binary:
        """Deliver a sample's thumbnail (WebP, longest side 160 px)."""
        ...

    @operation(
        "GET",
        "/datasets/{dataset}/samples/{index}/picture",
        right=Right.LOOK,
        refuses=(UnknownDataset, UnknownSample, HoldsText),
    )
    def picture(self, caller: Caller, dataset: DatasetId, index: SampleIndex) -> Binary:
        """Deliver a sample's picture as stored: decoded, rotated upright and re-encoded, without metadata."""
        ...

    @operation(
        "GET",
        "/datasets/{dataset}/samples/{index}/masks/{mask}",
        right=Right.LOOK,
        refuses=(UnknownDataset, UnknownSample, UnknownMask, HoldsText),
    )
    def mask(self, caller: Caller, dataset: DatasetId, index: SampleIndex, mask: MaskName) -> Binary:
        """Deliver one of a sample's masks: PNG of the picture's size, one bit a pixel, white inside."""
        ...

    @operation(
        "POST",
        "/uploads",
        right=Right.REGISTER,
        refuses=(UnsafeArchive, UploadTooLarge),
        idempotent=True,
        max_body=1 << 30,
    )
    def upload(self, caller: Caller, body: bytes) -> Upload:
        """Receive a zip of pictures; register it with `{"kind": "upload", "upload": SHA256}`."""
        ...
