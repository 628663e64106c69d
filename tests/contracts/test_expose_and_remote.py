"""Every operation of every contract gives the same answer directly and through router and client."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from contracts import (
    alignment,
    atlas,
    atlas_reading,
    atlas_transfer,
    attribution,
    attribution_evaluation,
    audit,
    audit_log,
    captures,
    comparison,
    corpora,
    corrections,
    crops,
    data,
    explanation,
    governance,
    jobs,
    labels,
    language,
    members,
    model,
    sae,
    session_events,
    sessions,
    steering,
    training,
)
from contracts.base import Binary, Caller, Page, Right, operations_of
from contracts.errors import Forbidden, IdempotencyConflict, InvalidRequest, Unauthenticated, Unavailable, UnknownJob
from orchestration.gateway.internal import internal_app, service_credentials
from services.kit.expose import service_name
from services.kit.remote import remote
from services.kit.tokens import TokenKey, sign_service_token

PROTOCOLS = (
    data.DataService,
    model.ModelService,
    explanation.ExplanationService,
    alignment.AlignmentService,
    comparison.ComparisonService,
    audit.AuditService,
    atlas.AtlasService,
    governance.GovernanceService,
    jobs.JobService,
    sessions.SessionService,
)
OPERATIONS = [(protocol, name) for protocol in PROTOCOLS for name in operations_of(protocol)]
IDS = [f"{service_name(protocol)}.{name}" for protocol, name in OPERATIONS]
REFUSALS = [
    (protocol, name, refusal)
    for protocol, name in OPERATIONS
    for refusal in (*operations_of(protocol)[name].refuses, Forbidden, Unavailable)
]
KEY = TokenKey(b"k" * 32)
ALICE = Caller(user="u_alice", workspace="w_one", rights=frozenset(Right) - {Right.ADMINISTER})
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SHA = "a" * 64

DATASET_REF = data.DatasetRef(id="d_1", name="photos", content_sha256=SHA, order_sha256=SHA, n=3)
DATASET = data.Dataset(
    ref=DATASET_REF, source="folder", labels=["cat"], n_captions=0, n_groups=1, n_duplicates=0, n_rejected=0,
    lineage="l", created_at=NOW,
)  # fmt: skip
SAMPLE = data.Sample(
    index=1, sha256=SHA, name="a.png", width=4, height=5, box=data.Box(left=0, top=0, right=2, bottom=2)
)
LAYER = model.Layer(name="blocks.1", kind="map", module="blocks.1", width=8, signed=False, pooling="max")
PREPROCESSING = model.Preprocessing(resize=4, crop=4, mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0))
MODEL_REF = model.ModelRef(
    id="m_1", name="net", architecture="timm:x", weights_sha256=SHA, preprocessing=PREPROCESSING,
    preprocess_sha256=SHA, model_sha256=SHA, config={"depth": 2},
)  # fmt: skip
MODEL = model.Model(ref=MODEL_REF, layers=[LAYER], parameters=7, lineage="l", created_at=NOW)
CLASS = attribution.ClassScore(index=2, name="cat", score=1 / 3, probability=0.25)
PNG = base64.b64encode(b"\x89png")
ATTRIBUTION = attribution.AttributionRequest(
    picture=base64.b64encode(b"\xff\xd8\xff"), target=2, methods=["gradient"], layers=["blocks.1"]
)
ATTRIBUTED = attribution.AttributionAnswer(
    model="m_1", target=CLASS, top=[CLASS], picture=PNG,
    maps=[attribution.HeatMap(
        method="gradient", rows=4, columns=5, absmax=1e-9, heatmap=PNG, quality=attribution.Quality(gini=0.1 + 0.2),
        absorbed={"bias": -0.5}, seconds=0.5,
    )],
    layers=[attribution.LayerRelevance(
        layer="blocks.1", rule="epsilon",
        components=[attribution.RelevantComponent(index=3, relevance=-1 / 3, share=-0.2)],
    )],
)  # fmt: skip
COMPONENT_QUERY = attribution.ComponentRequest(layer="blocks.1", dataset="d_1", samples=[0, 2])
RELEVANT = attribution.ComponentRelevance(
    model="m_1", layer="blocks.1", rule="activation_x_gradient", samples=2, targets=[1, 4], width=8, checked=2,
    components=[attribution.ComponentEffect(index=3, relevance=-1 / 3, share=-0.2, effect=None)], spearman=0.1,
)  # fmt: skip
STEERING = steering.SteeringRequest(
    picture=base64.b64encode(b"\xff\xd8\xff"), strengths=[-1.0, 0.5],
    interventions=[steering.Intervention(
        target=steering.ComponentTarget(layer="blocks.1", index=3), change="ablate", places=steering.Region(left=0.5)
    )],
)  # fmt: skip
STEERED = steering.SteeringPreview(
    model="m_1", target=steering.ClassChange(index=2, name=None, before=0.1 + 0.2, after=1 / 3, change=-0.5),
    before=[CLASS], after=[CLASS], changes=[], flipped=True, variation=0.25, closeness=None,
    layers=[steering.SteeredLayer(layer="blocks.1", norm=None, moved=1e-9)],
    curve=[steering.CurvePoint(strength=1e6, finite=False)], window=steering.Window(low=-1.0, high=0.5, recommended=0),
    baseline_cached=False, seconds=0.5,
)  # fmt: skip
CROP_REQUEST = crops.CropRequest(layer="blocks.1", index=3, sign=-1, dataset="d_1", samples=[0, 2], threshold=0.25)
CROPS = crops.ComponentCrops(
    model="m_1", layer="blocks.1", index=3, sign=-1, threshold=0.25, median_share=1 / 3,
    crops=[
        crops.Crop(sample=0, box=data.Box(left=0, top=1, right=2, bottom=3), share=0.1, heat=PNG),
        crops.Crop(sample=2, box=data.Box(left=0, top=0, right=4, bottom=4), share=1.0, whole="empty"),
    ],
)  # fmt: skip
METHOD = attribution.AttributionMethod(name="gradient", family="baseline", aim="sensitivity", passes=3)
PASSAGE = corpora.Passage(
    index=1, document="a.txt", document_sha256=SHA, start=256, stop=300, split="test", licence=None, text="½ — text\n"
)
WRITE = language.GenerationRequest(
    prompt="a — ½\n", seed=3, samples=2,
    interventions=[steering.Intervention(
        target=steering.ComponentTarget(layer="blocks.1", index=3), change="add", strength=0.1 + 0.2
    )],
)  # fmt: skip
TEXT_ROW = language.TextRow(arm="steered", seed=3, text=" bé\n", tokens=2, end="stop")
WRITTEN = language.Generation(model="m_1", prompt_tokens=4, rows=[TEXT_ROW], seconds=1 / 3)
WRITING = language.GenerationState(id="g_0123456789abcdef", version=2, ended=False, rows=[TEXT_ROW])
ENCODER = explanation.Encoder(name="e", fingerprint=SHA, width=4, text=True, null="template", note="")
REQUEST = explanation.SnapshotRequest(model="m_1", dataset="d_1", layers=["blocks.1"], pooling={"blocks.1": "mean"})
SNAPSHOT = explanation.Snapshot(
    id="s_1", name="first", model=MODEL_REF, dataset=DATASET_REF, encoder=ENCODER, request=REQUEST, layers=[],
    index=explanation.IndexFigures(generation="g", kind="flat", n=8, width=4, recall_at_20={"64": 1.0}),
    lineage="l", created_at=NOW,
)  # fmt: skip
LABEL_SET = labels.LabelSet(
    id="l_0123456789abcdef", snapshot="s_1", layers=["blocks.1"], scorers=["csp"], templates=["{}"], text="csp",
    vocabulary=labels.VocabularyFigures(source="list", n=2, merged=0, sha256=SHA), encoder="e", simulator="e",
    request=labels.LabelRequest(snapshot="s_1"), lineage="l", created_at=NOW,
)  # fmt: skip
REF = explanation.ComponentRef(model="m_1", layer="blocks.1", index=3, sign=-1)
EXAMPLE = explanation.Example(sample=1, label=None, activation=0.1 + 0.2)
HIT = explanation.SearchHit(
    component=REF, score=1 / 3, z=None, z_random=2.5, clarity=0.5, prototype=0, n_valid=30, examples=[EXAMPLE]
)
VECTORS = {"vectors": np.eye(3, dtype=np.float32), "index": np.arange(3)}
HITS = explanation.SearchHits(snapshot="s_1", lineage="l", hits=[HIT])
COMPONENT = explanation.Component(
    ref=REF, state="dead", n_valid=0, n_groups=None, clarity=None, clarity_z=None, polysemanticity=None,
    polysemanticity_z=None, redundancy=None, maximum=1e-300, mean=0.0, minimum=-5e-324,
)  # fmt: skip
DETAIL = explanation.ComponentDetail(
    snapshot="s_1", lineage="l", component=COMPONENT, examples=[EXAMPLE], lowest=[], prototypes=[], nearest=[],
    histogram=explanation.Histogram(edges=[0.0, 1.0], counts=[3]),
)  # fmt: skip
JOB = jobs.Job(
    id="j_00000001", kind="snapshot", title="t", state="queued", stages=[], created_by="u", created_at=NOW, version=4
)
TOKEN = governance.Token(id="t_1", name="n", rights=[Right.LOOK], created_at=NOW, expires_at=NOW)
NEW_TOKEN = governance.NewToken(token=TOKEN, secret="s")
QUERY = explanation.SearchQuery(
    terms=[
        explanation.TextTerm(text="a clock — ½"),
        explanation.ComponentTerm(layer="blocks.1", index=3, sign=-1, weight=-0.5),
        explanation.PictureTerm(picture="iVBORw=="),
    ],
    min_z=0.1,
)
COMPARISON_REQUEST = alignment.ComparisonRequest(dataset="d_1", sides=[alignment.Side(model="m_1", layers=["a", "b"])])
REPRESENTATION = alignment.Representation(
    place=0, model="net", layer="a", width=8, state="ok", concepts=3, noise_share=0.1, noise_mass=0.2, validity=0.3,
    trustworthiness=None, dimension=4.0, ceiling=0.5, label_alignment=0.1, position_alignment=None,
)  # fmt: skip
ALIGNMENT = alignment.Alignment(
    ours=0, theirs=1, aci=0.3, low=0.2, high=0.4, gri=0.9, gri_error=0.01, chance=0.8, relative=0.6, crisp=0.3,
    modes={"asis": 0.3, "exclude": None}, coverage=0.9, cka=0.5, cka_unbiased=0.4, svcca=None, rsa=0.2, mutual_knn=0.1,
    cknna=None,
)  # fmt: skip
CONCEPT = alignment.Concept(
    index=2, prevalence=0.1, members=9, samples=4, few_samples=True, dimension=None, stability=0.8, label="cat",
    label_share=0.9, x=0.1, y=-0.2,
    examples=[alignment.ConceptExample(sample=1, label=None, membership=0.7, row=0.5, column=0.25)],
)  # fmt: skip
MATCH = alignment.ConceptMatch(
    ours=2, theirs=None, relation="unique", kappa=None, size_free_distance=None, distance=None, q=None
)
COMPARISON = alignment.Comparison(
    id="c_1", name="n", dataset=DATASET_REF, models=[MODEL_REF], request=COMPARISON_REQUEST, points=12,
    representations=[REPRESENTATION], alignments=[ALIGNMENT], matched=[(0, 1)],
    layer_order=[alignment.LayerOrderScore(model="net", layers=3, chance=2 / 3, scores={"aci": 1.0})],
    lineage="l", created_at=NOW,
)  # fmt: skip
PAIR = alignment.PairReport(
    comparison="c_1", ours=REPRESENTATION, theirs=REPRESENTATION, alignment=ALIGNMENT, counts={"unique": 1},
    matches=[MATCH], our_concepts=[CONCEPT], their_concepts=[],
    flow=[alignment.FlowEdge(source=0, target=1, points=3.0, share_of_source=0.1, share_of_target=0.2, z=4.0)],
)  # fmt: skip
CONCEPT_DETAIL = alignment.ConceptDetail(
    comparison="c_1", representation=REPRESENTATION, concept=CONCEPT, partners={1: MATCH}
)
AUDIT_ID = "a_0123456789abcdef"
POLICY = audit.AuditPolicy(classes={"a/b c": audit.ClassPolicy(valid=["a cat"], spurious=["a tag"], output=2)})
SIGN_OFF = audit.SignOff(number=2, user="u", verdict="rejected", note="no — ½", signed_at=NOW)
AUDIT = audit.Audit(
    id=AUDIT_ID, snapshot="s_1", snapshot_name="first", model="m_1", dataset="d_1", encoder="e", policy=POLICY,
    policy_sha256=SHA, layers=["blocks.1"], templates=["{}"], passed=False,
    checks=[audit.AuditCheck(
        readout="a/b c", layer="blocks.1", rule="spurious", components=1, share=0.1, limit=0.05, passed=False
    )],
    readouts=[audit.ReadoutLayer(readout="a/b c", output=2, layer="blocks.1", samples=3, verdicts=[
        audit.VerdictShare(verdict="spurious", components=1, share=1 / 3)
    ])],
    findings=[audit.AuditFinding(
        readout="a/b c", layer="blocks.1", index=3, sign=-1, verdict="mixed", share=1 / 3, relevance=-2.0, effect=None,
        clarity=0.5, clarity_z=None, n_valid=30, distinct=7, examples=[EXAMPLE],
        tests=[audit.ConceptTest(concept="a tag", kind="spurious", alignment=0.1, z=4.5, p=1e-6, q=0.01)],
    )],
    calibration=audit.AuditCalibration(
        tests=9, background=1000, pool=5000, smallest_p=2e-4, resolution_limited=False, needed=1
    ),
    lineage="l", created_at=NOW, sign_offs=[SIGN_OFF],
)  # fmt: skip
AUDIT_SUMMARY = audit.AuditSummary(
    id=AUDIT_ID, snapshot="s_1", snapshot_name="first", model="m_1", passed=True, classes=1, violations=0, flagged=0,
    policy_sha256=SHA, created_at=NOW,
)  # fmt: skip
AUDIT_POINT = audit.AuditPoint(layer="blocks.1", index=3, sign=-1, valid=None, spurious=0.1, share=0.0, verdict="idle")
COMPARISON_QUERY = comparison.ComparisonQuery(other="s_2", layers=["blocks.1"], threshold=0.75)
SIDE = comparison.ComparedSide(
    snapshot="s_1", name="first", model="net", dataset=DATASET_REF, layers=["blocks.1"], components=2, similarity=1 / 3,
    chance=0.1, excess=0.2, z=None, ceiling=0.9, known=1, alone=1, undecided=0,
)  # fmt: skip
SHOWN = comparison.ComparedComponent(component=REF, clarity=0.5, examples=[EXAMPLE])
COMPARED = comparison.SnapshotComparison(
    ours=SIDE, theirs=SIDE, similarity=None, encoder="e", same_dataset=True, threshold=0.5, pairing="mutual",
    space="raw", null_limited=False, paired=1,
    layers=[comparison.LayerSimilarity(
        ours="a", theirs="b", similarity=0.1, chance=0.2, z=-1.0, back=None, back_chance=None, back_z=None,
    )],
    pairs=[comparison.ComponentPair(ours=SHOWN, theirs=SHOWN, cosine=0.1 + 0.2, relative=None)],
    only_ours=[comparison.LoneComponent(
        component=SHOWN, nearest=REF, cosine=0.1, chance=0.0, ceiling=0.9, relative=0.1,
    )], only_theirs=[],
)  # fmt: skip
DRIFT = comparison.SnapshotDrift(
    old="s_1", new="s_2", same_dataset=False, threshold=0.5, unaligned=["x"],
    layers=[comparison.LayerDrift(
        layer="a", components=1, cosine=None, relative=None, overlap=None, scale=1.5, clarity_change=None,
        fates={"lost": 1},
    )],
    rows=[comparison.DriftRow(
        component=REF, fate="lost", cosine=None, relative=None, overlap=None, scale=None, clarity_change=None,
        moved_to=REF, moved_cosine=0.5, before=[EXAMPLE], after=[],
    )],
)  # fmt: skip
DISTRIBUTIONS = comparison.Distributions(snapshot="s_1", lineage="l", layers=[])
BETTER = labels.Estimate(value=0.5, low=0.4, high=0.6, n=9)
FIGURES = corrections.CorrectionFigures(clean=BETTER, artefact=BETTER)
CORRECTION = corrections.Correction(
    id="x_1", audit=AUDIT_ID, parent="m_1", model="m_2", name="n", readout="a/b c", layer="blocks.1", units=[3],
    considered=[3, 4], curve=[corrections.CorrectionStep(units=0, clean=1 / 3, artefact=0.0)],
    before=FIGURES, after=FIGURES, random=FIGURES, random_best=0.1, magnitude=FIGURES, lineage="l", created_at=NOW,
)  # fmt: skip
CAPTURE_REQUEST = captures.CaptureRequest(model="m_1", corpus="texts", layers=["model.layers.1"])
CAPTURE = captures.Capture(
    id="cap_1", name="n", model="m_1", corpus="d_1", windows=30, splits={"train": 18}, order_sha256=SHA,
    layers=[captures.CapturedLayer(layer="model.layers.1", width=8, norm=1.5, tokens=300)], request=CAPTURE_REQUEST,
    lineage="l", created_at=NOW,
)  # fmt: skip
TEXT_QUERY = atlas_reading.TextQuery(text="a — ½", k=2)
TOKEN_LABEL = atlas_reading.TokenLabel(latent=3, text="a clock — ½", value=1 / 3, share=0.5, tier="weak")
READING = atlas_reading.TokenReading(
    model="m_1", layer="model.layers.1", carried=True, translator="op", latents=[TOKEN_LABEL],
    tokens=[atlas_reading.ReadToken(text="½", start=4, stop=5, kept=True, labels=[TOKEN_LABEL])],
)  # fmt: skip
DIRECTION_QUERY = atlas_reading.DirectionQuery(latents=[3, 4], map="cov")
DIRECTION = atlas_reading.SteeringDirection(
    model="m_1", layer="model.layers.1", map="cov", vector=[0.6, 0.8], cosines=[[1.0]], others={"write": 0.1 + 0.2},
    latents=[atlas_reading.UsedLatent(latent=3, text="x", cosine=1.0, weight=1.0)], norm=None,
)  # fmt: skip
AGREEMENT = atlas_reading.Agreement(
    alignment="align_1", other="align_2", layer="a", units=2, agreed=0.5, chance=None, cosine=1 / 3,
    examples=[atlas_reading.UnitAgreement(unit=1, text="x", other="y", cosine=0.5, agreed=False)],
)  # fmt: skip
MEMBER = members.WorkspaceMember(
    user="u_1", name="n", role="analyst", has_password=True, created_at=NOW, disabled_at=NOW
)
INVITATION = members.Invitation(id="l_1", role="viewer", created_by="u_1", created_at=NOW, expires_at=NOW)
NEW_LINK = members.NewLink(id="l_1", path="/invite#secret", expires_at=NOW)
ACT = audit_log.AuditLogEntry(
    seq=7, at=NOW, actor="u_1", actor_name="n", action="member.disabled", subject="u_2", facts={"role": "viewer"},
    correlation="c", previous=SHA, hash=SHA,
)  # fmt: skip
LOG_REPORT = audit_log.AuditLogReport(
    workspace="w", intact=False, entries=7, head=f"7:{SHA}",
    broken=audit_log.BrokenEntry(seq=3, reason="changed", detail="d"),
)  # fmt: skip
JUDGED = attribution_evaluation.EvaluationFigure(
    metric="auc", method="gradcam", resolution="pixel", evidence="positive", better="high",
    value={"mean": 0.9, "low": 0.8, "high": 0.95}, n=5, undefined=1, best=True,
)  # fmt: skip
EVALUATION = attribution_evaluation.AttributionEvaluation(job="j_00000001", samples=6, right=5, figures=[JUDGED])
STEP = training.PruningStep(amount=0.0, channels=8, parameters=99, macs=1024, accuracy=0.5)
SAE_REQUEST = sae.SaeRequest(snapshot="s_1", layer="blocks.1", learning_rate=1e-3)
SAE = sae.Sae(
    id="sae_1", name="n", snapshot="s_1", model="m_1", dataset="photos", layer="blocks.1", architecture="topk", width=8,
    latents=512, warnings=["w"], request=SAE_REQUEST, lineage="l", created_at=NOW,
    quality=sae.SaeQuality(
        explained=-0.1, explained_training=1 / 3, active=15.5, dead_share=0.0, cosine=0.5, histogram=[1, 0],
        held_out=2, trained_on=8,
    ),
)  # fmt: skip
SAE_LATENT = sae.SaeLatent(
    sae="sae_1", index=3, density=0.1 + 0.2, maximum=2.0, state="insufficient_evidence", label=None, label_share=None,
    examples=[sae.LatentExample(sample=1, label=None, value=1 / 3, held_out=True)],
)  # fmt: skip
ATLAS_REQUEST = atlas.AtlasRequest(sae="sae_1", vocabulary="list", names=["a", "½"])
ATLAS = atlas.Atlas(
    id="atlas_1", name="n", sae="sae_1", snapshot="s_1", model="m_1", layer="blocks.1", dataset="d_1", encoder="e",
    latents=512, vocabulary_sha256=SHA, tiers={"verified": 3}, auroc=0.1 + 0.2, shuffled=None, request=ATLAS_REQUEST,
    lineage="l", created_at=NOW,
)  # fmt: skip
ATLAS_LABEL = atlas.AtlasLabel(
    latent=3, text="a clock — ½", margin=0.1, auroc=None, low=None, high=None, precision=None,
    tier="insufficient_evidence",
)  # fmt: skip
ALIGN_REQUEST = atlas.AlignmentRequest(atlas="atlas_1", snapshot="s_2", layers=["blocks.1"])
TRANSFER = atlas_transfer.TransferFigures(auroc=0.9, ap=1 / 3)
CARRIED = atlas.AtlasAlignment(
    id="align_1", name="n", atlas="atlas_1", snapshot="s_2", model="m_1", request=ALIGN_REQUEST, lineage="l",
    created_at=NOW,
    layers=[atlas_transfer.LayerTransfer(
        layer="blocks.1", width=8, state="ok", chosen="op", shuffled=TRANSFER, base=0.02, tiers={"weak": 1},
        translators=[atlas_transfer.TranslatorFigures(translator="op", validation=0.8, test=TRANSFER)],
        samples={"training": 6},
    )],
)  # fmt: skip
UNIT_LABELS = atlas.UnitLabels(
    alignment="align_1", layer="blocks.1", unit=3, translator="op",
    labels=[atlas.CarriedLabel(
        latent=3, text="x", z=-4.5, percentile=99.5, label_tier="weak", transfer_auroc=0.9, transfer_tier="verified",
    )],
)  # fmt: skip
UNIT_SEARCH = atlas.UnitSearch(text="a clock — ½", layer="blocks.1", k=3)
UNIT_HITS = atlas.UnitHits(
    alignment="align_1", layer="blocks.1",
    latents=[atlas_reading.UsedLatent(latent=3, text="x", cosine=0.5, weight=1.0)],
    units=[atlas.FoundUnit(unit=3, score=1 / 3)],
)  # fmt: skip
AS, NOTE = "as_0123456789abcdef", "n_0123456789abcdef"
PINNED = session_events.Pinned(
    snapshot="s_1", component=REF, dataset="d_1", lineage="l", state="ok", clarity=0.1 + 0.2, examples=[1]
)
STATE = sessions.SessionState(
    seq=3, snapshot="s_1", pins=[sessions.Pin(seq=1, user="u", at=NOW, pinned=PINNED)], undone=[2],
    notes=[sessions.Note(id=NOTE, seq=2, text="a\n½ — b", both=True, users=["u"], at=NOW)],
    audits=[session_events.AuditSeen(audit=AUDIT_ID, snapshot="s_1", passed=False)],
    places={"u": sessions.Visit(path="/s/small?q=a+cat", title="", at=NOW)},
)  # fmt: skip
ANALYSIS = sessions.AnalysisSession(
    id=AS, name="n", access="edit", members=[sessions.Member(user="u", name="U", access="owner")], state=STATE,
    parent=None, parent_seq=None, created_at=NOW, changed_at=NOW,
)  # fmt: skip
SUMMARY = sessions.SessionSummary(
    id=AS, name="n", snapshot="s_1", owner="U", access="view", members=2, events=3, pins=1, notes=1, parent=AS,
    created_at=NOW, changed_at=NOW,
)  # fmt: skip
SEARCHED = session_events.Search(query=explanation.SearchQuery(terms=[explanation.TextTerm(text="½")]), hits=[REF])
HAPPENED = session_events.SessionEvent(
    session=AS, seq=3, user="u", by="U", at=NOW, action=SEARCHED, what="w", correlation="c"
)
WRITE_NOTE = session_events.WriteNote(note=NOTE, text="½\n", base=2)
SHARE_LINK = sessions.ShareLink(id="k_0123456789abcdef", access="view", created_by="U", created_at=NOW, expires_at=NOW)
PRESENT = sessions.Present(
    session=AS, viewers=[sessions.Viewer(user="u", name="U", access="view", path="/", title="½")]
)
PLAIN: dict[str, tuple[dict[str, Any], Any]] = {
    "data.datasets": ({"limit": 7, "cursor": "c/+=&"}, Page(items=[DATASET], next="n")),
    "data.dataset": ({"dataset": "my photos"}, DATASET),
    "data.samples": ({"dataset": "d_1"}, Page(items=[SAMPLE])),
    "data.rejected": ({"dataset": "d_1"}, Page(items=[data.RejectedFile(name="x", reason="r", detail="d")])),
    "data.sample": ({"dataset": "d_1", "index": 1}, SAMPLE),
    "data.thumbnail": ({"dataset": "d_1", "index": 1}, Binary(b"\x00webp", "image/webp", "e1")),
    "data.picture": ({"dataset": "d_1", "index": 1}, Binary(b"\x89png", "image/png", None)),
    "data.mask": ({"dataset": "d_1", "index": 1, "mask": "object"}, Binary(b"\x89png", "image/png", "e2")),
    "data.upload": ({"body": b"PK\x03\x04" * 1000}, data.Upload(upload=SHA, bytes=4000, entries=1)),
    "model.models": ({"limit": 1}, Page(items=[MODEL])),
    "model.model": ({"model": "m_1"}, MODEL),
    "model.attribution_methods": ({}, Page(items=[METHOD])),
    "model.attribute": ({"model": "m_1", "query": ATTRIBUTION}, ATTRIBUTED),
    "model.attribution_maps": ({"model": "m_1", "query": ATTRIBUTION}, {"gradient": np.eye(3, dtype=np.float32)}),
    "model.component_relevance": ({"model": "m_1", "query": COMPONENT_QUERY}, RELEVANT),
    "model.component_arrays": ({"model": "m_1", "query": COMPONENT_QUERY}, VECTORS),
    "model.steering_preview": ({"model": "m_1", "query": STEERING}, STEERED),
    "model.component_crops": ({"model": "m_1", "query": CROP_REQUEST}, CROPS),
    "explanation.encoders": ({}, Page(items=[ENCODER])),
    "explanation.snapshots": ({}, Page(items=[SNAPSHOT])),
    "explanation.snapshot": ({"snapshot": "s_1"}, SNAPSHOT),
    "explanation.search": ({"snapshot": "s_1", "query": QUERY}, HITS),
    "explanation.components": ({"snapshot": "s_1", "layer": "blocks.1", "sort": "clarity"}, Page(items=[COMPONENT])),
    "explanation.component": ({"snapshot": "s_1", "layer": "blocks.1", "index": 3, "sign": -1}, DETAIL),
    "explanation.vectors": ({"snapshot": "s_1", "layer": "a b%2e"}, VECTORS),
    "explanation.factors": (
        {"snapshot": "s_1", "layer": "blocks.1", "factor": "artefact=tag", "k": 3},
        explanation.FactorScores(
            snapshot="s_1", lineage="l", factor="artefact=tag", n=9, n_with=2,
            components=[explanation.FactorScore(component=REF, auroc=0.75, standard_error=0.1)],
        ),
    ),
    "explanation.labels": ({"snapshot": "s_1"}, Page(items=[LABEL_SET])),
    "explanation.leaderboard": (
        {"snapshot": "s_1", "labels": "l_0123456789abcdef"},
        labels.Leaderboard(snapshot="s_1", labels="l_0123456789abcdef", layers=[]),
    ),
    "explanation.component_labels": (
        {"snapshot": "s_1", "layer": "blocks.1", "index": 3, "sign": -1},
        labels.ComponentLabels(
            snapshot="s_1", labels="l_0123456789abcdef", layer="blocks.1", index=3, sign=-1, status="unsure", n_valid=7,
            vocabulary_sha256=SHA, scorers=[],
        ),
    ),
    "jobs.build_labels": ({"body": labels.LabelRequest(snapshot="s_1")}, JOB),
    "explanation.check": ({"snapshot": "s_1"}, explanation.SnapshotCheck(snapshot="s_1", artifacts=3, damaged=["k"])),
    "governance.me": ({}, governance.Identity(user="u", name="n", workspace="w", role="viewer", rights=[Right.LOOK])),
    "governance.tokens": ({}, Page(items=[TOKEN])),
    "governance.create_token": ({"body": governance.TokenRequest(name="n", days=2)}, NEW_TOKEN),
    "governance.revoke_token": ({"token": "t_1"}, governance.Removed(id="t_1")),
    "governance.members": ({"limit": 3, "cursor": "c"}, Page(items=[MEMBER])),
    "governance.change_role": ({"user": "u_1", "body": members.RoleChange(role="auditor")}, MEMBER),
    "governance.disable_member": ({"user": "u_1"}, MEMBER),
    "governance.enable_member": ({"user": "u_1"}, MEMBER),
    "governance.member_tokens": ({"user": "u_1"}, Page(items=[TOKEN])),
    "governance.revoke_member_token": ({"user": "u_1", "token": "t_1"}, governance.Removed(id="t_1")),
    "governance.invitations": ({}, Page(items=[INVITATION])),
    "governance.invite": ({"body": members.InvitationRequest(role="analyst", days=3)}, NEW_LINK),
    "governance.revoke_invitation": ({"invitation": "l_1"}, governance.Removed(id="l_1")),
    "governance.reset_password": ({"body": members.PasswordResetRequest(user="u_1")}, NEW_LINK),
    "governance.audit_log": ({"actor": "u_1", "action": "x", "since": NOW, "limit": 3}, Page(items=[ACT])),
    "governance.verify_audit_log": ({"head": f"7:{SHA}"}, LOG_REPORT),
    "data.passages": ({"dataset": "d_1", "split": "test", "limit": 3}, Page(items=[PASSAGE])),
    "model.generate": ({"model": "m_1", "query": WRITE}, WRITTEN),
    "model.open_generation": ({"model": "m_1", "query": WRITE}, WRITING),
    "model.generation": ({"generation": "g_0123456789abcdef", "after": 1}, WRITING),
    "model.close_generation": ({"generation": "g_0123456789abcdef"}, WRITING),
    "jobs.register_dataset": (
        {"body": data.DatasetRegistration(name="n", source=data.UploadSource(upload=SHA)), "idempotency_key": "once"},
        JOB,
    ),
    "jobs.register_model": ({"body": model.ModelRegistration(name="n", architecture="timm:x")}, JOB),
    "jobs.build_snapshot": ({"body": REQUEST}, JOB),
    "jobs.train_model": ({"body": training.TrainingRequest(name="n", model="m_1", dataset="d_1")}, JOB),
    "jobs.evaluate_attributions": (
        {"body": attribution_evaluation.EvaluationRequest(model="m_1", dataset="d_1", mask="object")},
        JOB,
    ),
    "jobs.attribution_evaluation": ({"job": "j_00000001"}, EVALUATION),
    "jobs.prune_model": ({"body": training.PruningRequest(name="n", model="m_1", dataset="d_1")}, JOB),
    "jobs.pruning": ({"job": "j_00000001"}, training.Pruning(job="j_00000001", before=STEP, removed={"conv": [3]})),
    "jobs.curve": ({"job": "j_00000001"}, training.Curve(job="j_00000001", epochs=[], stopped=False)),
    "alignment.comparisons": ({"limit": 3}, Page(items=[COMPARISON])),
    "alignment.comparison": ({"comparison": "c_1"}, COMPARISON),
    "alignment.pair": ({"comparison": "c_1", "ours": 0, "theirs": 1}, PAIR),
    "alignment.concept": ({"comparison": "c_1", "representation": 0, "concept": 2}, CONCEPT_DETAIL),
    "alignment.report": ({"comparison": "c_1", "format": "csv"}, Binary(b"a,b", "text/csv; charset=utf-8", None)),
    "comparison.semantic_map": (
        {"snapshot": "s_1", "layout": "pca"}, Binary(b"\x08safe", "application/vnd.xsys.arrays", SHA)
    ),
    "audit.audits": ({"limit": 3}, Page(items=[AUDIT_SUMMARY])),
    "audit.audit": ({"audit": AUDIT_ID}, AUDIT),
    "audit.audit_points": (
        {"audit": AUDIT_ID, "readout": "a b%2e"},
        audit.AuditPoints(audit=AUDIT_ID, readout="a b%2e", components=1, points=[AUDIT_POINT]),
    ),
    "audit.sign_off": (
        {"audit": AUDIT_ID, "body": audit.SignOffRequest(verdict="rejected", note="no — ½")}, SIGN_OFF
    ),
    "audit.audit_report": (
        {"audit": AUDIT_ID, "format": "junit"}, Binary(b"<x/>", "application/xml; charset=utf-8", None)
    ),
    "audit.audit_policy": ({"snapshot": "s_1"}, audit.PolicyDraft(snapshot="s_1", yaml="version: 1")),
    "audit.corrections": ({"audit": AUDIT_ID}, Page(items=[CORRECTION])),
    "jobs.correct": (
        {"body": corrections.CorrectionRequest(audit=AUDIT_ID, name="n", clean="d_1", artefact="d_1")}, JOB
    ),
    "jobs.audit": ({"body": audit.AuditRequest(snapshot="s_1", policy=POLICY)}, JOB),
    "comparison.distributions": ({"snapshot": "s_1", "layer": "blocks.1"}, DISTRIBUTIONS),
    "comparison.compare": ({"snapshot": "s_1", "query": COMPARISON_QUERY}, COMPARED),
    "comparison.comparison_report": (
        {"snapshot": "s_1", "query": COMPARISON_QUERY, "format": "csv"}, Binary(b"a", "text/csv; charset=utf-8", None)
    ),
    "comparison.drift": ({"snapshot": "s_1", "new": "s_2", "threshold": 0.25, "k": 3}, DRIFT),
    "comparison.drift_report": ({"snapshot": "s_1", "new": "s_2"}, Binary(b"<p>", "text/html; charset=utf-8", None)),
    "atlas.captures": ({"limit": 3}, Page(items=[CAPTURE])),
    "atlas.capture": ({"capture": "my capture"}, CAPTURE),
    "atlas.read_text": ({"atlas": "atlas_1", "query": TEXT_QUERY}, READING),
    "atlas.localise": ({"alignment": "align_1", "query": TEXT_QUERY}, READING),
    "atlas.atlas_direction": ({"atlas": "atlas_1", "query": DIRECTION_QUERY}, DIRECTION),
    "atlas.alignment_direction": ({"alignment": "align_1", "query": DIRECTION_QUERY}, DIRECTION),
    "atlas.agreement": ({"alignment": "align_1", "other": "align_2", "layer": "a b%2e"}, AGREEMENT),
    "jobs.capture_text": ({"body": CAPTURE_REQUEST}, JOB),
    "model.token_activations": (
        {"model": "m_1", "query": language.TokenQuery(text="½", layer="a")}, {"values": np.ones((2, 3), np.float32)}
    ),
    "atlas.saes": ({"limit": 3}, Page(items=[SAE])),
    "atlas.sae": ({"sae": "my sae"}, SAE),
    "atlas.sae_latent": ({"sae": "sae_1", "latent": 3}, SAE_LATENT),
    "atlas.export_sae": ({"sae": "sae_1"}, Binary(b"PK", "application/zip", "e3")),
    "atlas.atlases": ({"limit": 3}, Page(items=[ATLAS])),
    "atlas.atlas": ({"atlas": "my atlas"}, ATLAS),
    "atlas.atlas_labels": ({"atlas": "atlas_1"}, Page(items=[ATLAS_LABEL])),
    "atlas.alignments": ({"limit": 3}, Page(items=[CARRIED])),
    "atlas.alignment": ({"alignment": "align_1"}, CARRIED),
    "atlas.unit_labels": ({"alignment": "align_1", "layer": "a b%2e", "unit": 3}, UNIT_LABELS),
    "atlas.search_units": ({"alignment": "align_1", "query": UNIT_SEARCH}, UNIT_HITS),
    "sessions.begin": ({"body": sessions.SessionRequest(name="n", snapshot="small"), "idempotency_key": "k"}, ANALYSIS),
    "sessions.sessions": ({"limit": 3, "cursor": "c/+="}, Page(items=[SUMMARY], next="n")),
    "sessions.join": ({"body": sessions.JoinRequest(link="secret")}, ANALYSIS),
    "sessions.session": ({"session": AS}, ANALYSIS),
    "sessions.state_at": ({"session": AS, "at": 3}, STATE),
    "sessions.history": ({"session": AS, "order": "newest"}, Page(items=[HAPPENED])),
    "sessions.act": (
        {"session": AS, "body": session_events.EventDraft(action=WRITE_NOTE)}, HAPPENED
    ),
    "sessions.branch": ({"session": AS, "body": sessions.BranchRequest(name="mine", at=2)}, ANALYSIS),
    "sessions.links": ({"session": AS}, Page(items=[SHARE_LINK])),
    "sessions.share": (
        {"session": AS, "body": sessions.LinkRequest(access="edit", days=3)},
        sessions.NewShareLink(link=SHARE_LINK, secret="s", path="/sessions/join#s"),
    ),
    "sessions.revoke_link": (
        {"session": AS, "link": "k_0123456789abcdef"}, sessions.LinkRevoked(id="k_0123456789abcdef")
    ),
    "sessions.remove_member": ({"session": AS, "member": "u b%2e"}, sessions.MemberRemoved(session=AS, user="u b%2e")),
    "sessions.appear": ({"session": AS, "body": sessions.Place(path="/s/small?q=½")}, PRESENT),
    "sessions.report": ({"session": AS, "format": "python"}, Binary(b"x", "text/x-python; charset=utf-8", "e")),
    "jobs.build_atlas": ({"body": ATLAS_REQUEST}, JOB),
    "jobs.align_atlas": ({"body": ALIGN_REQUEST}, JOB),
    "jobs.train_sae": ({"body": SAE_REQUEST}, JOB),
    "jobs.compare": ({"body": COMPARISON_REQUEST}, JOB),
    "jobs.repair_snapshot": ({"body": jobs.Repair(snapshot="s_1")}, JOB),
    "jobs.jobs": ({"limit": 200}, Page(items=[JOB])),
    "jobs.job": ({"job": "j_00000001"}, JOB),
    "jobs.cancel": ({"job": "j_00000001"}, JOB),
    "jobs.retry": ({"job": "j_00000001"}, JOB),
}  # fmt: skip


class Planted:
    """Answers every operation of one service as planted, or refuses as planned, and remembers how it was asked."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.asked: list[dict[str, Any]] = []
        self.refusals: list[Exception] = []

    def __getattr__(self, name: str) -> Any:
        answer = PLAIN[f"{self.service}.{name}"][1]

        def ask(**values: Any) -> Any:
            self.asked.append(values)
            if self.refusals:
                raise self.refusals.pop(0)
            return answer

        return ask


@pytest.fixture(scope="module")
def planted() -> dict[str, Planted]:
    return {service_name(protocol): Planted(service_name(protocol)) for protocol in PROTOCOLS}


@pytest.fixture(scope="module")
def server(planted: dict[str, Planted]) -> Iterator[str]:
    routes = [
        Mount(f"/{name}", internal_app(protocol, planted[name], KEY))
        for protocol, name in ((protocol, service_name(protocol)) for protocol in PROTOCOLS)
    ]
    running = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), port=0, log_level="error"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    running.should_exit = True
    thread.join()


@pytest.fixture
def client_of(server: str, planted: dict[str, Planted]):
    for service in planted.values():
        service.asked.clear()
        service.refusals.clear()
    with httpx.Client(timeout=10) as http:

        def make(protocol: type, **options: Any) -> Any:
            name = service_name(protocol)
            http.base_url = httpx.URL(f"{server}/{name}")
            options.setdefault("credentials", service_credentials(KEY, name))
            return remote(protocol, http, **options)

        yield make


def test_every_operation_has_a_planted_answer():
    assert sorted(PLAIN) == sorted(IDS)


@pytest.mark.parametrize(("protocol", "name"), OPERATIONS, ids=IDS)
def test_an_operation_answers_the_same_directly_and_over_http(protocol, name, planted, client_of):
    service = planted[service_name(protocol)]
    values, expected = PLAIN[f"{service.service}.{name}"]
    answer = getattr(client_of(protocol), name)(ALICE, **values)
    sent = {"caller": ALICE, **values}
    (asked,) = service.asked
    assert {key: asked[key] for key in sent} == sent
    if isinstance(expected, dict):
        assert answer.keys() == expected.keys()
        for key in expected:
            np.testing.assert_array_equal(answer[key], expected[key], strict=True)
    else:
        assert answer == expected


@pytest.mark.parametrize(("protocol", "name", "refusal"), REFUSALS)
def test_a_refusal_arrives_as_it_was_raised(protocol, name, refusal, planted, client_of):
    service = planted[service_name(protocol)]
    planned = refusal("no", field="layer", closest=["a", "b"], limit=3)
    service.refusals[:] = [planned]
    with pytest.raises(refusal) as caught:
        getattr(client_of(protocol, retries=0), name)(ALICE, **PLAIN[f"{service.service}.{name}"][0])
    assert type(caught.value) is refusal
    assert (caught.value.detail, caught.value.field) == ("no", "layer")
    assert caught.value.facts == planned.facts


def test_an_operation_that_may_be_repeated_survives_two_failures(planted, client_of):
    planted["jobs"].refusals[:] = [Unavailable("a"), Unavailable("b")]
    assert client_of(jobs.JobService).cancel(ALICE, "j_00000001") == JOB
    assert len(planted["jobs"].asked) == 3


def test_a_job_is_never_submitted_twice_by_the_client_itself(planted, client_of):
    planted["jobs"].refusals[:] = [Unavailable("a")]
    with pytest.raises(Unavailable):
        client_of(jobs.JobService).retry(ALICE, "j_00000001")
    assert len(planted["jobs"].asked) == 1


def test_a_submission_with_an_idempotency_key_may_be_repeated(planted, client_of):
    planted["jobs"].refusals[:] = [Unavailable("a")]
    assert client_of(jobs.JobService).build_snapshot(ALICE, REQUEST, idempotency_key="k") == JOB
    assert [asked["idempotency_key"] for asked in planted["jobs"].asked] == ["k", "k"]


def test_a_refusal_is_not_repeated(planted, client_of):
    planted["jobs"].refusals[:] = [UnknownJob("a"), IdempotencyConflict("b")]
    with pytest.raises(UnknownJob):
        client_of(jobs.JobService).job(ALICE, "j_00000001")
    assert len(planted["jobs"].asked) == 1


def test_a_server_that_is_gone_is_unavailable():
    with httpx.Client(base_url="http://127.0.0.1:9", timeout=1) as http:
        service = remote(data.DataService, http, credentials=lambda caller: {}, retries=1)
        with pytest.raises(Unavailable, match="does not answer"):
            service.dataset(ALICE, "d_1")


def test_the_service_decides_on_the_users_rights_and_not_on_the_gateways(client_of):
    viewer = ALICE.model_copy(update={"rights": frozenset({Right.LOOK})})
    with pytest.raises(Forbidden, match="search"):
        client_of(explanation.ExplanationService).search(viewer, "s_1", QUERY)


@pytest.mark.parametrize(
    "token",
    [
        sign_service_token(KEY, ALICE, "data", now=time.time() - 61),
        sign_service_token(KEY, ALICE, "model"),
        sign_service_token(TokenKey(b"x" * 32), ALICE, "data"),
        sign_service_token(KEY, ALICE, "data")[:-1],
        sign_service_token(KEY, ALICE, "data").replace("xsvc1.e", "xsvc1.f"),
        "nonsense",
    ],
    ids=["expired", "other audience", "other key", "cut", "altered", "nonsense"],
)
def test_a_service_token_that_is_not_right_is_refused(token, client_of, planted):
    service = client_of(data.DataService, credentials=lambda caller: {"Authorization": f"Bearer {token}"})
    with pytest.raises(Unauthenticated):
        service.dataset(ALICE, "d_1")
    assert planted["data"].asked == []


@pytest.mark.parametrize("name", ["d_1/samples/1", "..", ".", ""])
def test_a_path_parameter_cannot_climb_out_of_its_place(name, client_of, planted):
    with pytest.raises(InvalidRequest):
        client_of(data.DataService).dataset(ALICE, name)
    assert planted["data"].asked == []


@pytest.mark.parametrize("name", ["a b", "a?b=c", "a#b", "50%", "%2e%2e", "ü", "a;b", "a:b\\c"])
def test_a_path_parameter_arrives_as_it_was_given(name, client_of, planted):
    client_of(data.DataService).dataset(ALICE, name)
    assert planted["data"].asked == [{"caller": ALICE, "dataset": name}]
