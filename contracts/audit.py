"""Audits: which concepts a class may rest on and which not, what was found, and who signed it off."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Protocol, Self

from pydantic import Field, model_validator

from contracts.base import Binary, Caller, Contract, Cursor, FiniteFloat, Limit, Page, Right, Sha256, operation
from contracts.corrections import AuditId, Correction, ReadoutName, Share
from contracts.errors import CorruptArtifact, NotFound, UnknownSnapshot, XsysError
from contracts.model import LayerName
from contracts.snapshots import Example, SnapshotId

Concept = Annotated[str, Field(min_length=1, max_length=200)]
Concepts = Annotated[list[Concept], Field(max_length=1000)]
ConceptKind = Literal["valid", "spurious", "forbidden"]
Verdict = Literal[
    "forbidden", "spurious", "mixed", "valid", "unexpected", "idle", "unclear", "insufficient_evidence"
]  # fmt: skip
SignedVerdict = Literal["accepted", "rejected"]
LONGEST_POLICY = 1 << 18


class BadPolicy(XsysError):
    """`line` is the line of the policy that has to change; None where a policy came as JSON and not as text."""

    status = 422
    remedy = "Correct the named line of the policy; `xsys audit init SNAPSHOT` writes one to start from."


class UnknownAudit(NotFound):
    remedy = "List the audits with `xsys audit list`."


class UnknownReadout(NotFound):
    remedy = "Take one of the classes of the audit's policy."


class ForeignSpace(XsysError):
    """Texts can only read a model whose embeddings are those of the snapshot's encoder."""

    status = 422
    remedy = "Audit the image side of the snapshot's own encoder by `text`, or name classes and outputs of the model."


class ClassPolicy(Contract):
    """What one class may rest on. Without `output` the class is found by its name among the model's outputs.

    With `text` there is no class: what is explained is the cosine of the model's embedding with that text, for the
    image side of the snapshot's encoder (`open_clip:`). Either all classes of a policy have a text, or none.
    `label` is the dataset's name of the class where it has another one; it counts for `over: labelled` only.
    """

    valid: Concepts = []
    spurious: Concepts = []
    forbidden: Concepts = []
    output: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    label: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    text: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class AuditLimits(Contract):
    """Largest share of a class's relevance in a layer that components of a verdict may carry; None: no limit."""

    forbidden: Share | None = 0.0
    spurious: Share | None = 0.05
    mixed: Share | None = None
    unexpected: Share | None = None
    unclear: Share | None = None
    insufficient_evidence: Share | None = None


class AuditPolicy(Contract):
    """What a model may rest on, and how strictly it is judged.

    `forbidden` holds for every class. `fdr` is the false-discovery rate over all pairs of component and concept.
    `min_clarity_z`: below it a component is `unclear` and is not judged by concepts. `min_examples` counts distinct
    pictures: those of one group, and copies, count once. Relevance is measured on up to `samples` pictures that the
    model assigns to the class (`over: predicted`) or that bear its label, of the first `pool` pictures.
    `background`: names that fit the domain and the encoder, or `captions` for those of the dataset; without it names of
    ImageNet are taken. Names that share a word with a concept are left out of its null.
    """

    version: Literal[1] = 1
    classes: Annotated[dict[ReadoutName, ClassPolicy], Field(min_length=1, max_length=1000)]
    forbidden: Concepts = []
    layers: Annotated[list[LayerName], Field(min_length=1, max_length=100)] | None = None
    limits: AuditLimits = AuditLimits()
    fdr: Annotated[float, Field(gt=0, le=0.5, allow_inf_nan=False)] = 0.05
    min_clarity_z: FiniteFloat | None = None
    min_examples: Annotated[int, Field(ge=1, le=200)] = 5
    unexpected_share: Share = 0.01
    over: Literal["predicted", "labelled"] = "predicted"
    samples: Annotated[int, Field(ge=1, le=1024)] = 64
    pool: Annotated[int, Field(ge=1, le=1_000_000)] = 2048
    rule: Annotated[str, Field(min_length=1, max_length=80)] = "activation_x_gradient"
    ablate: Annotated[int, Field(ge=0, le=1024, description="components a class and layer to ablate")] = 32
    templates: Annotated[list[Annotated[str, Field(max_length=200)]], Field(min_length=1, max_length=16)] | None = None
    background: Annotated[list[Concept], Field(min_length=100, max_length=20_000)] | Literal["captions"] | None = None


class AuditRequest(Contract):
    """Judge a published snapshot by a policy: as an object, or as YAML text whose lines a refusal can name."""

    snapshot: SnapshotId
    policy: AuditPolicy | None = None
    yaml: Annotated[str, Field(min_length=1, max_length=LONGEST_POLICY)] | None = None

    @model_validator(mode="after")
    def one_policy(self) -> Self:
        """Refuse both and neither."""
        if (self.policy is None) == (self.yaml is None):
            raise ValueError("give either policy or yaml")
        return self


class ConceptTest(Contract):
    """One component against one concept. `alignment` is the cosine; `q` the smallest false-discovery rate to flag it.

    `z` compares with what unrelated names reach, and `p` is the share of all such values that reach it.
    """

    concept: Concept
    kind: ConceptKind
    alignment: FiniteFloat
    z: FiniteFloat
    p: FiniteFloat
    q: FiniteFloat


class AuditFinding(Contract):
    """A component that is flagged, or that carries much relevance. `share` is |relevance| over the layer's sum of it.

    `relevance` and `effect` are means over the class's pictures; `effect` says by how much the score falls when the
    component is set to zero (both signs of a signed unit at once), None where it was not computed. `distinct` counts
    distinct example pictures. `tests` has the concepts that reached the false-discovery rate, and the nearest.
    """

    readout: ReadoutName
    layer: LayerName
    index: int
    sign: Literal[1, -1] = 1
    verdict: Verdict
    share: FiniteFloat
    relevance: FiniteFloat
    effect: FiniteFloat | None
    clarity: FiniteFloat | None
    clarity_z: FiniteFloat | None
    n_valid: int
    distinct: int
    tests: list[ConceptTest]
    examples: list[Example]


class VerdictShare(Contract):
    """How many components of a layer have a verdict for a class, and the share of relevance that they carry."""

    verdict: Verdict
    components: int
    share: FiniteFloat


class ReadoutLayer(Contract):
    """A class in a layer: relevance over `samples` pictures, by verdict."""

    readout: ReadoutName
    output: int
    layer: LayerName
    samples: int
    verdicts: list[VerdictShare]


class AuditCheck(Contract):
    """One limit of the policy, held against what was found."""

    readout: ReadoutName
    layer: LayerName
    rule: Verdict
    components: int
    share: FiniteFloat
    limit: FiniteFloat
    passed: bool


class AuditCalibration(Contract):
    """How the tests were calibrated; `pool` is the smallest null of a concept.

    `resolution_limited`: a lone discovery could not have reached the rate.
    `needed` is how many discoveries at the smallest attainable p reach it together.
    """

    tests: int
    background: int
    pool: int
    smallest_p: FiniteFloat
    resolution_limited: bool
    needed: int


class SignOff(Contract):
    """What a person decided about an audit. It is added to and never changed."""

    number: int
    user: str
    verdict: SignedVerdict
    note: str
    signed_at: datetime


class SignOffRequest(Contract):
    """Accept or reject an audit's result, for the record."""

    verdict: SignedVerdict
    note: Annotated[str, Field(max_length=4000)] = ""


class AuditSummary(Contract):
    """A finished audit in a list."""

    id: AuditId
    snapshot: str
    snapshot_name: str
    model: str
    passed: bool
    classes: int
    violations: int
    flagged: int
    policy_sha256: Sha256
    created_at: datetime
    sign_offs: list[SignOff] = []


class Audit(Contract):
    """A finished audit; immutable but for the sign-offs that are added to it."""

    id: AuditId
    snapshot: str
    snapshot_name: str
    model: str
    dataset: str
    encoder: str
    policy: AuditPolicy
    policy_sha256: Sha256
    layers: list[LayerName]
    templates: list[str]
    passed: bool
    checks: list[AuditCheck]
    readouts: list[ReadoutLayer]
    findings: list[AuditFinding]
    calibration: AuditCalibration
    lineage: str
    created_at: datetime
    sign_offs: list[SignOff] = []


class AuditPoint(Contract):
    """A component in the plane of its best valid and its best spurious (or forbidden) alignment; None: none given."""

    layer: LayerName
    index: int
    sign: Literal[1, -1]
    valid: FiniteFloat | None
    spurious: FiniteFloat | None
    share: FiniteFloat
    verdict: Verdict


class AuditPoints(Contract):
    """All judged components for one class, largest share of relevance first; at most 5,000."""

    audit: AuditId
    readout: ReadoutName
    components: int
    points: list[AuditPoint]


class PolicyDraft(Contract):
    """A commented policy to start from, as YAML text."""

    snapshot: str
    yaml: str


class AuditService(Protocol):
    """What may be asked about audits. Router, client and OpenAPI come from this class."""

    @operation("GET", "/audits", right=Right.LOOK)
    def audits(self, caller: Caller, limit: Limit = 50, cursor: Cursor | None = None) -> Page[AuditSummary]:
        """List the audits of the workspace, newest first."""
        ...

    @operation("GET", "/audits/{audit}", right=Right.LOOK, refuses=(UnknownAudit,))
    def audit(self, caller: Caller, audit: AuditId) -> Audit:
        """Show one audit: its policy, the limits that hold and those that do not, and the flagged components."""
        ...

    @operation(
        "GET", "/audits/{audit}/points/{readout}", right=Right.LOOK,
        refuses=(UnknownAudit, UnknownReadout, CorruptArtifact),
    )  # fmt: skip
    def audit_points(self, caller: Caller, audit: AuditId, readout: ReadoutName) -> AuditPoints:
        """Show where all components lie between valid and spurious concepts of a class."""
        ...

    @operation("POST", "/audits/{audit}/sign-offs", right=Right.SIGN_OFF, refuses=(UnknownAudit,))
    def sign_off(self, caller: Caller, audit: AuditId, body: SignOffRequest) -> SignOff:
        """Accept or reject an audit by name; earlier decisions stay."""
        ...

    @operation("GET", "/audits/{audit}/corrections", right=Right.LOOK, refuses=(UnknownAudit,))
    def corrections(self, caller: Caller, audit: AuditId) -> Page[Correction]:
        """List the models that were made by suppressing what an audit flagged, newest first."""
        ...

    @operation("GET", "/audits/{audit}/report", right=Right.LOOK, refuses=(UnknownAudit, CorruptArtifact))
    def audit_report(self, caller: Caller, audit: AuditId, format: Literal["html", "junit"] = "html") -> Binary:
        """Export an audit as one HTML page with example pictures, or as JUnit XML for a build."""
        ...

    @operation(
        "GET", "/snapshots/{snapshot}/audit-policy", right=Right.LOOK, refuses=(UnknownSnapshot,)
    )  # fmt: skip
    def audit_policy(self, caller: Caller, snapshot: SnapshotId) -> PolicyDraft:
        """Write a commented policy for the classes of a snapshot's model."""
        ...
