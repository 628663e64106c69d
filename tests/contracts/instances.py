"""One of each thing that contracts exchange."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import numpy as np

from contracts import (
    alignment,
    atlas,
    atlas_reading,
    atlas_transfer,
    attribution,
    attribution_evaluation,
    audit,
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
    model,
    replay,
    sae,
    session_events,
    sessions,
    snapshots,
    steering,
    steering_evaluation,
    training,
)
from contracts.base import Right

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
GRAPH_QUERY = attribution.GraphRequest(
    sample=attribution.SampleOf(dataset="d_1", index=1), layers=["blocks.0", "blocks.1"], components=2
)
GRAPH = attribution.ComponentGraph(
    model="m_1", target=CLASS, rule="epsilon_plus", layers=["blocks.1", "blocks.0"],
    nodes=[
        attribution.GraphNode(layer="blocks.1", index=3, relevance=-1 / 3, share=-0.2),
        attribution.GraphNode(layer="blocks.0", index=0, relevance=5e-324, share=1.0),
    ],
    edges=[attribution.GraphEdge(source=0, target=1, relevance=0.1 + 0.2)],
)  # fmt: skip
PLAYS_QUERY = attribution.PlaysRequest(sample=attribution.SampleOf(dataset="d_1", index=1), plays=2)
PLAYS = attribution.Plays(
    model="m_1", target=CLASS, rule="gamma", picture="UE5H",
    plays=[attribution.Play(weight=-1 / 3, ended="absorbed", steps=[
        attribution.PlayStep(function="conv2d", component=3, x=0.1 + 0.2, y=None),
    ])],
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
CROP_REQUEST = crops.CropRequest(
    layer="blocks.1", index=3, sign=-1, dataset="d_1", samples=[0, 2], method="relevance", threshold=0.25
)
CROPS = crops.ComponentCrops(
    model="m_1", layer="blocks.1", index=3, sign=-1, method="relevance", rule="cp_gamma", threshold=0.25,
    median_share=1 / 3,
    crops=[
        crops.Crop(sample=0, box=data.Box(left=0, top=1, right=2, bottom=3), share=0.1, heat=PNG),
        crops.Crop(sample=2, box=data.Box(left=0, top=0, right=4, bottom=4), share=1.0, whole="empty"),
    ],
)  # fmt: skip
COST = model.ModelCost(
    model=model.CostFigures(
        model="m_1", name="cut", parameters=10, weights_bytes=80, sparsity=0.5, gini=0.25, macs=100, side=32,
        latency_ms=1.5, latency_low_ms=1.25, latency_high_ms=2.0, rounds=15, threads=2,
    ),
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
ENCODER = snapshots.Encoder(name="e", fingerprint=SHA, width=4, text=True, null="template", note="")
REQUEST = snapshots.SnapshotRequest(model="m_1", dataset="d_1", layers=["blocks.1"], pooling={"blocks.1": "mean"})
SNAPSHOT = snapshots.Snapshot(
    id="s_1", name="first", model=MODEL_REF, dataset=DATASET_REF, encoder=ENCODER, request=REQUEST, layers=[],
    index=snapshots.IndexFigures(generation="g", kind="flat", n=8, width=4, recall_at_20={"64": 1.0}),
    lineage="l", created_at=NOW,
)  # fmt: skip
LABEL_SET = labels.LabelSet(
    id="l_0123456789abcdef", snapshot="s_1", layers=["blocks.1"], scorers=["csp"], templates=["{}"], text="csp",
    vocabulary=labels.VocabularyFigures(source="list", n=2, merged=0, sha256=SHA), encoder="e", simulator="e",
    request=labels.LabelRequest(snapshot="s_1"),
    candidates=labels.CandidateFigures(
        adapter="openai", model="m — ½", fingerprint=SHA, prompt="what?\n", grid="contrastive", canvas=96,
        layers=[labels.LayerCandidates(
            layer="blocks.1", asked=2, unanswered=1, added=1, n=3, vocabulary_sha256=SHA
        )],
    ),
    lineage="l", created_at=NOW,
)  # fmt: skip
REF = snapshots.ComponentRef(model="m_1", layer="blocks.1", index=3, sign=-1)
EXAMPLE = snapshots.Example(sample=1, label=None, activation=0.1 + 0.2)
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
JUDGED = attribution_evaluation.EvaluationFigure(
    metric="auc", method="gradcam", resolution="pixel", evidence="positive", better="high",
    value={"mean": 0.9, "low": 0.8, "high": 0.95}, n=5, undefined=1, best=True,
)  # fmt: skip
EVALUATION = attribution_evaluation.AttributionEvaluation(job="j_00000001", samples=6, right=5, figures=[JUDGED])
SPREAD = {"mean": 0.1 + 0.2, "low": 0.0, "high": 1 / 3}
STEERING_EVALUATION = steering_evaluation.SteeringEvaluation(
    job="j_00000001",
    settings=[steering_evaluation.SteeringSetting(
        arm="write", strength=0.2, n=20, rate=SPREAD, gain=SPREAD, clearly=0.25, fluency=SPREAD, fluency_share=0.8,
        relevance=1.5, total=1.0, perplexity=None, distinct=1.0, repeated=0.0, front=True,
    )],
    arms=[steering_evaluation.SteeringArm(
        arm="write", layer="model.layers.1", window=None, held_out=None,
        no_window=steering_evaluation.NoWindow(reason="no_gain", detail="d"),
    )],
)  # fmt: skip
MEASURED_STEERING = steering_evaluation.MeasuredSteering(
    job="j_00000001", concepts=["sea"], arms=STEERING_EVALUATION.arms, created_at=NOW
)
STEERING_EVALUATION_REQUEST = steering_evaluation.SteeringEvaluationRequest(
    model="m_1", concepts=[{"name": "sea", "texts": ["a wave"] * 30}], others=["an oven"] * 30, layer="model.layers.1"
)
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
REPLAY = replay.Replay(session=AS, seq=1, kind="search", verdict="differs", checked=["a"], differences=["b"])
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
