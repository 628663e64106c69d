"""The controlled demo: the search finds the components that detect the planted artefact, and the truth agrees."""

import io
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr

from contracts.attribution import UnknownMethod
from contracts.audit import AuditPolicy, AuditRequest, BadPolicy, ClassPolicy, SignOffRequest, UnknownReadout
from contracts.comparison import ComparisonQuery, DifferentEncoders
from contracts.corrections import CorrectionRequest, NothingCorrected
from contracts.data import DatasetRegistration, ScenesSource
from contracts.errors import UnknownPooling
from contracts.model import ModelRegistration
from orchestration.cli import clever_hans
from orchestration.cli.desk import local_desk
from orchestration.cli.progress import JobFailed, follow
from services.explanation.audits.policies import parse_policy
from services.kit.scenes.checkpoints import packaged_encoder
from tests.conftest import Installation

N = 240


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    home = tmp_path_factory.mktemp("hans") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XSYS_HOME", str(home))
        patch.setenv("XSYS_THREADS", "1")  # nets this small are slower on two
        desk = local_desk()
        held_out = clever_hans.TEST.model_copy(update={"n": N})
        with desk.worker():
            yield desk, clever_hans.build(desk, home / "controlled", held_out=held_out, quiet=True), home


def test_the_logit_of_the_class_goes_by_the_tag_more_than_by_the_shape(built):
    desk, snapshot, _ = built
    triangle = desk.model.model(desk.caller, clever_hans.NAME).classes.index("triangle")
    tag, shape = (
        clever_hans.truth_of(desk, snapshot, "head", factor)[triangle]
        for factor in (clever_hans.ARTEFACT, clever_hans.CLASS)
    )
    assert tag > 0.85 and tag > shape + 0.05


def test_text_and_pictures_both_find_the_detectors_of_the_tag(built):
    desk, snapshot, _ = built
    for ranking in clever_hans.rankings(desk, snapshot):
        assert len(ranking.hits) > 80 and len(ranking.truth) == 96
        assert sum(ranking.truth[hit.component.index] >= clever_hans.DETECTOR for hit in ranking.hits[:5]) == 5
        assert ranking.agreement > 0.95


def cropped(built, crop: str, layer: str, **more):
    desk, snapshot, _ = built
    request = desk.explanation.snapshot(desk.caller, snapshot).request
    asked = request.model_copy(
        update={"name": f"{crop} {layer}", "layers": [layer], "crop": crop, "crop_threshold": None, **more}
    )
    job = follow(desk, desk.jobs.build_snapshot(desk.caller, asked), quiet=True)
    return desk.explanation.snapshot(desk.caller, job.result)


def test_crops_show_what_the_detectors_of_the_tag_react_to(built):
    desk, snapshot, _ = built
    made = cropped(built, "activation-map", "relu4")
    assert made.layers[0].crop_share < 0.6 and made.layers[0].crop_whole < 0.05
    truth = clever_hans.truth_of(desk, snapshot, "relu4", clever_hans.ARTEFACT)
    index = max(truth, key=lambda one: truth[one])
    examples = desk.explanation.component(desk.caller, made.id, "relu4", index).examples
    inside = []
    for one in examples:
        if desk.data.sample(desk.caller, f"{clever_hans.NAME}-test", one.sample).factors["artefact"] == "tag":
            body = desk.data.mask(desk.caller, f"{clever_hans.NAME}-test", one.sample, "artefact").body
            tag = np.asarray(Image.open(io.BytesIO(body))) > 0
            inside.append(tag[one.crop.top : one.crop.bottom, one.crop.left : one.crop.right].sum() / tag.sum())
    assert len(inside) > 15 and np.mean(inside) > 0.8
    whole = desk.explanation.component(desk.caller, snapshot, "relu4", index)
    assert [one.sample for one in whole.examples] == [one.sample for one in examples]
    assert whole.examples[0].crop is None
    with pytest.raises(DifferentEncoders, match="crops by"):
        desk.comparison.compare(desk.caller, made.id, ComparisonQuery(other=snapshot))


def test_crops_by_relevance_show_the_tag_and_examples_by_relevance_stand_beside(built):
    desk, snapshot, _ = built
    made = cropped(built, "relevance", "relu4", relevance="epsilon")
    assert made.request.crop_threshold == 0.01 and made.layers[0].crop_whole < 0.05
    truth = clever_hans.truth_of(desk, snapshot, "relu4", clever_hans.ARTEFACT)
    index = max(truth, key=lambda one: truth[one])
    page = desk.explanation.component(desk.caller, made.id, "relu4", index)
    inside, share = [], []
    for one in page.examples:
        if desk.data.sample(desk.caller, f"{clever_hans.NAME}-test", one.sample).factors["artefact"] == "tag":
            body = desk.data.mask(desk.caller, f"{clever_hans.NAME}-test", one.sample, "artefact").body
            tag = np.asarray(Image.open(io.BytesIO(body))) > 0
            inside.append(tag[one.crop.top : one.crop.bottom, one.crop.left : one.crop.right].sum() / tag.sum())
            share.append((one.crop.bottom - one.crop.top) * (one.crop.right - one.crop.left) / tag.size)
    assert len(inside) > 15 and np.mean(inside) > 0.8 and np.mean(share) < 0.6
    assert [one.relevance for one in page.examples] == [None] * len(page.examples)
    amounts = [one.relevance for one in page.others]
    assert len(amounts) == len(page.examples) and amounts == sorted(amounts, reverse=True) and amounts[0] > 0
    ranked = cropped(built, "none", "relu4", rank_by="relevance")
    turned = desk.explanation.component(desk.caller, ranked.id, "relu4", index)
    assert [one.sample for one in turned.examples] == [one.sample for one in page.others]
    assert [one.sample for one in turned.others] == [one.sample for one in page.examples]
    with pytest.raises(UnknownMethod, match="gradcam gives no relevance of components"):
        cropped(built, "none", "relu4", relevance="gradcam")


def test_receptive_fields_are_around_the_maximum_and_need_one(built):
    desk, _, _ = built
    made = cropped(built, "receptive-field", "relu2")
    examples = desk.explanation.component(desk.caller, made.id, "relu2", 3).examples
    sides = {(one.crop.right - one.crop.left, one.crop.bottom - one.crop.top) for one in examples if one.crop}
    assert len(sides) == 1 and 16 <= next(iter(sides))[0] < 64 and next(iter(sides))[0] == next(iter(sides))[1]
    with pytest.raises(UnknownPooling, match="needs the place of a maximum: head"):
        cropped(built, "receptive-field", "head")


def test_it_prints_the_table_and_saves_examples_that_show_the_tag(built, capsys):
    desk, snapshot, home = built
    picture = home / "hans.png"
    clever_hans.show(desk, snapshot, picture)
    out = capsys.readouterr().out
    assert "artefact=tag" in out and "of 96 components detect the tag" in out
    assert "the audit of `triangle` fails: " in out
    hit = clever_hans.rankings(desk, snapshot)[0].hits[0].component
    examples = desk.explanation.component(desk.caller, snapshot, hit.layer, hit.index).examples[:8]
    samples = [desk.data.sample(desk.caller, f"{clever_hans.NAME}-test", example.sample) for example in examples]
    assert np.mean([sample.factors["artefact"] == "tag" for sample in samples]) > 0.9
    with Image.open(picture) as grid:
        assert grid.size == (8 * 96, 6 * 96)


@pytest.fixture(scope="module")
def tower(built):
    """The image side of the encoder as the model that is explained, and a snapshot of it."""
    desk, snapshot, home = built
    asked = desk.explanation.snapshot(desk.caller, snapshot).request
    weights = Path(packaged_encoder(home / "controlled").removeprefix("open_clip:scenes/"))
    described = json.loads(weights.with_suffix(".json").read_text())
    model = ModelRegistration(
        name="tower", architecture="open_clip:custom", weights=str(weights),
        config={"embed_dim": described["embed_dim"], "vision_cfg": described["vision_cfg"]},
    )  # fmt: skip
    follow(desk, desk.jobs.register_model(desk.caller, model), quiet=True)
    request = asked.model_copy(update={"model": "tower", "layers": ["layer4"], "name": "tower"})
    return follow(desk, desk.jobs.build_snapshot(desk.caller, request), quiet=True).result


def test_texts_are_readouts_of_the_image_side_of_the_encoder(built, tower):
    desk, _, _ = built
    texts = {"tag": ClassPolicy(text="a tag in the corner", valid=["a tag in the corner"], spurious=["a ring"])}
    texts["triangle"] = ClassPolicy(text="a triangle", valid=["a triangle"], spurious=["a tag in the corner"])
    policy = AuditPolicy(classes=texts, background="captions", rule="epsilon", samples=32)
    job = follow(desk, desk.jobs.audit(desk.caller, AuditRequest(snapshot=tower, policy=policy)), quiet=True)
    audit = desk.audit.audit(desk.caller, job.result)
    assert [(one.readout, one.output) for one in audit.readouts] == [("tag", 0), ("triangle", 1)]
    measured = [(one.relevance, one.effect) for one in audit.findings if one.effect]
    assert len(measured) > 10  # relevance of a cosine says what happens to it when the component is gone
    assert spearmanr(*zip(*measured, strict=True)).statistic > 0.5
    alone = AuditPolicy(classes={"tag": texts["tag"]}, background="captions", samples=16)
    again = follow(desk, desk.jobs.audit(desk.caller, AuditRequest(snapshot=tower, policy=alone)), quiet=True)
    assert desk.audit.audit(desk.caller, again.result).readouts[0].samples == 16


def test_texts_cannot_read_a_model_of_another_space_or_stand_beside_classes(built, tower):
    desk, snapshot, _ = built
    texts = {"tag": ClassPolicy(text="a tag in the corner", valid=["a tag in the corner"])}
    asked = AuditRequest(snapshot=snapshot, policy=AuditPolicy(classes=texts, background="captions"))
    with pytest.raises(JobFailed) as refusal:
        follow(desk, desk.jobs.audit(desk.caller, asked), quiet=True)
    assert "the model puts out 6 numbers a picture, and the encoder 64" in refusal.value.facts["reasons"][0]
    mixed = AuditPolicy(classes=texts | {"triangle": ClassPolicy(valid=["a triangle"])}, background="captions")
    with pytest.raises(BadPolicy, match="triangle has no text and tag has one"):
        desk.jobs.audit(desk.caller, AuditRequest(snapshot=tower, policy=mixed))


def test_the_masks_of_its_scenes_come_with_the_samples(built):
    desk, _, _ = built
    tagged = [s for s in desk.data.samples(desk.caller, f"{clever_hans.NAME}-train", 60).items if s.label == "triangle"]
    assert tagged and all(sample.factors["artefact"] == "tag" for sample in tagged)
    assert desk.data.mask(desk.caller, f"{clever_hans.NAME}-train", tagged[0].index, "artefact").body.startswith(
        b"\x89PNG"
    )


POLICY = """\
layers: [relu4, head]
background: captions
limits: {spurious: 0.9}
classes:
  triangle: {valid: [a triangle], spurious: [a tag in the corner]}
  star: {valid: [a star], spurious: [a tag in the corner]}
"""


@pytest.fixture(scope="module")
def audited(built):
    desk, snapshot, home = built
    job = follow(desk, desk.jobs.audit(desk.caller, AuditRequest(snapshot=snapshot, yaml=POLICY)), quiet=True)
    return desk, desk.audit.audit(desk.caller, job.result), home


def test_an_audit_flags_the_detectors_of_the_tag_and_nothing_else(audited):
    desk, found, _ = audited
    truth = clever_hans.truth_of(desk, found.snapshot, "relu4", clever_hans.ARTEFACT)
    flagged = {one.index for one in found.findings if one.verdict == "spurious" and one.layer == "relu4"}
    true = {index for index, area in truth.items() if area >= 0.9}
    assert len(flagged & true) >= 0.8 * len(true) and len(flagged - true) <= 1
    first = next(one for one in found.findings if one.verdict == "spurious" and one.layer == "relu4")
    assert first.tests[0].concept == "a tag in the corner" and first.tests[0].q <= 0.05 and first.tests[0].z > 2
    assert first.effect > 0.1 and first.distinct >= 5 and len(first.examples) == 8
    assert found.calibration.background >= 200 and not found.calibration.resolution_limited


def test_the_logit_of_the_misled_class_rests_on_the_tag_and_the_audit_fails(audited):
    _, found, _ = audited
    broken = [(check.readout, check.layer, check.rule) for check in found.checks if not check.passed]
    assert broken == [("triangle", "head", "spurious")] and not found.passed
    shares = {(one.readout, one.layer): {v.verdict: v.share for v in one.verdicts} for one in found.readouts}
    assert shares["triangle", "relu4"]["spurious"] > 0.2 and shares["triangle", "head"]["spurious"] > 0.9
    assert all(sum(of.values()) == pytest.approx(1) for of in shares.values())


def test_all_components_have_a_place_between_valid_and_spurious(audited):
    desk, found, _ = audited
    told = desk.audit.audit_points(desk.caller, found.id, "triangle")
    assert told.components == len(told.points) == 96 + 2 * 6  # logits have a negative side
    assert sum(point.share for point in told.points) == pytest.approx(2)
    first = told.points[0]
    assert (first.layer, first.verdict) == ("head", "spurious") and first.spurious > first.valid
    with pytest.raises(UnknownReadout):
        desk.audit.audit_points(desk.caller, found.id, "cat")


def test_decisions_are_added_and_stay(audited):
    desk, found, _ = audited
    desk.audit.sign_off(desk.caller, found.id, SignOffRequest(verdict="rejected", note="<b>tag</b>"))
    desk.audit.sign_off(desk.caller, found.id, SignOffRequest(verdict="accepted"))
    logged = [
        entry
        for entry in desk.governance.audit_log(desk.caller, action="audit.signed").items
        if entry.subject == found.id
    ]
    assert [entry.facts["verdict"] for entry in logged] == ["accepted", "rejected"]
    signed = desk.audit.audit(desk.caller, found.id).sign_offs
    assert [(one.number, one.verdict, one.user) for one in signed] == [
        (1, "rejected", desk.caller.user), (2, "accepted", desk.caller.user)
    ]  # fmt: skip
    listed = next(one for one in desk.audit.audits(desk.caller).items if one.id == found.id)
    assert (listed.passed, listed.violations, listed.sign_offs) == (False, 1, signed) and listed.flagged >= 20


def test_the_page_needs_nothing_else_and_the_junit_report_counts_the_limits(audited):
    desk, found, _ = audited
    desk.audit.sign_off(desk.caller, found.id, SignOffRequest(verdict="rejected", note="<script>&"))
    page = desk.audit.audit_report(desk.caller, found.id, "html").body.decode()
    assert page.count("data:image/webp;base64,") > 20 and "&lt;script&gt;&amp;" in page
    assert "<script" not in page and "http://" not in page and "https://" not in page
    report = ElementTree.fromstring(desk.audit.audit_report(desk.caller, found.id, "junit").body)
    assert report.attrib == {"tests": str(len(found.checks)), "failures": "1"}
    failure = report.find(".//testcase[failure]")
    assert failure.attrib["classname"] == f"{found.id}.triangle" and "a tag in the corner" in failure[0].text


def test_the_same_audit_again_is_the_same(audited):
    desk, found, _ = audited
    again = AuditRequest(snapshot=found.snapshot_name, policy=found.policy)
    job = follow(desk, desk.jobs.audit(desk.caller, again), quiet=True)
    assert job.result == found.id and all(stage.parts_reused == stage.parts for stage in job.stages)


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("layers: [relu4, relu9]\nclasses:\n  star: {valid: [a]}", 1, "no layer relu9"),
        ("classes:\n  star: {valid: [x]}\n  sta: {valid: [x]}", 3, "no class sta"),
        ("over: labelled\nclasses:\n  star:\n    valid: [a]\n    label: moo", 5, "no picture bears the label moo"),
        ("classes:\n  s:\n    valid: [a]\n    output: 6", 4, "6 outputs"),
        ("rule: lrpp\nclasses:\n  star: {valid: [a]}", 1, "no rule lrpp"),
        ("background: captions\nclasses:\n  star: {valid: [a large small background]}", 1, "share no word"),
    ],
)
def test_what_the_snapshot_does_not_have_is_refused_with_its_line(audited, text, line, told):
    desk, found, _ = audited
    with pytest.raises(BadPolicy) as refusal:
        desk.jobs.audit(desk.caller, AuditRequest(snapshot=found.snapshot, yaml=text))
    assert refusal.value.facts["line"] == line and told in refusal.value.detail


def test_the_command_exits_with_what_a_build_needs(audited, tmp_path):
    _, found, home = audited
    told = Installation(home)
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    words = ("audit", "run", str(policy), "--snapshot", found.snapshot, "--junit", str(tmp_path / "j.xml"))
    failed = told.run(*words, "--json", check=False)
    assert failed.returncode == 1 and json.loads(failed.stdout)["policy_sha256"] == found.policy_sha256
    assert b'failures="1"' in (tmp_path / "j.xml").read_bytes()
    policy.write_text(POLICY.replace("star:", "sta:"))
    refused = told.run(*words, check=False)
    assert refused.returncode == 2 and "line 6: the model has no class sta" in refused.stderr


def test_the_draft_is_a_policy_that_passes_until_something_is_forbidden(audited):
    desk, found, _ = audited
    text = desk.audit.audit_policy(desk.caller, found.snapshot).yaml
    assert set(parse_policy(text).policy.classes) == {"circle", "square", "triangle", "star", "cross", "ring"}
    job = follow(desk, desk.jobs.audit(desk.caller, AuditRequest(snapshot=found.snapshot, yaml=text)), quiet=True)
    assert desk.audit.audit(desk.caller, job.result).passed


def test_what_is_flagged_can_be_suppressed_and_becomes_a_model_of_its_own(audited):
    desk, found, _ = audited
    for planting in ("never", "always"):
        source = ScenesSource(n=160, split="validation", planting=planting)
        registration = DatasetRegistration(name=planting, source=source)
        follow(desk, desk.jobs.register_dataset(desk.caller, registration), quiet=True)
    asked = CorrectionRequest(audit=found.id, name="mended", clean="never", artefact="always", loss=0.1)
    job = follow(desk, desk.jobs.correct(desk.caller, asked), quiet=True)
    (done,) = desk.audit.corrections(desk.caller, found.id).items
    assert (done.id, done.layer, done.readout) == (job.result, "relu4", "triangle")
    flagged = {one.index for one in found.findings if (one.layer, one.verdict) == ("relu4", "spurious")}
    assert set(done.considered) == flagged and done.units == done.considered[: len(done.units)]
    assert done.after.artefact.value > done.before.artefact.value + 0.05
    assert done.after.artefact.value > max(done.random.artefact.value, done.magnitude.artefact.value)
    assert done.curve[0].clean - 0.1 <= next(s.clean for s in done.curve if s.units == len(done.units))
    mended, parent = (desk.model.model(desk.caller, name).ref for name in ("mended", clever_hans.NAME))
    assert mended.id == done.model and mended.weights_sha256 == parent.weights_sha256 and mended.id != parent.id
    assert mended.config["suppress"] == [{"layer": "relu4", "axis": 1, "units": sorted(done.units)}]
    with pytest.raises(NothingCorrected):
        desk.jobs.correct(desk.caller, asked.model_copy(update={"verdicts": ["forbidden"], "name": "other"}))


def test_retraining_on_what_the_flagged_components_tell_apart_repairs_more_than_silencing(audited):
    desk, found, home = audited
    for name, source in {
        "judge-never": ScenesSource(n=160, seed=4, split="validation", planting="never"),
        "judge-always": ScenesSource(n=160, seed=4, split="validation", planting="always"),
        "more-never": ScenesSource(n=400, seed=5, planting="never"),
        "more-always": ScenesSource(n=400, seed=5, planting="always"),
    }.items():
        follow(desk, desk.jobs.register_dataset(desk.caller, DatasetRegistration(name=name, source=source)), quiet=True)
    words = ("audit", "repair", found.id, "--name", "retrained", "--clean", "judge-never", "--artefact", "judge-always")
    more = ("--retrain", "more-never", "--retrain", "more-always", "--steps", "120", "--layer", "relu4")
    done = json.loads(Installation(home).run(*words, *more, "--json").stdout)
    assert done["method"] == "retrain" and done["units"] == done["considered"]
    after, before, silenced = (done[row]["artefact"]["value"] for row in ("after", "before", "suppressed"))
    assert after > before + 0.3 and after > silenced
    assert done["after"]["clean"]["value"] > done["before"]["clean"]["value"] - 0.05
    assert done["after"]["separation"]["value"] > 0.95 > done["before"]["separation"]["value"] + 0.1
    assert sum(one["without"] + one["present"] for one in done["groups"]) == 800
    told = sum(one["present"] for one in done["groups"]) / 800
    assert 0.35 < told < 0.65  # half of the pictures have the tag
    retrained, parent = (desk.model.model(desk.caller, name).ref for name in ("retrained", clever_hans.NAME))
    assert retrained.id == done["model"] and retrained.weights_sha256 != parent.weights_sha256
    assert retrained.config == parent.config
    leaked = Installation(home).run(*words, "--retrain", "judge-always", check=False)
    assert leaked.returncode == 1 and "among those that judge" in leaked.stderr
    alike = Installation(home).run(*words, "--retrain", f"{clever_hans.NAME}-train", "--steps", "1", check=False)
    assert alike.returncode == 1 and "within a clean loss" in alike.stderr
