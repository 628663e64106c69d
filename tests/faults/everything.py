"""One job of every kind, small, run by real workers: quietly, or with one kill in every stage kind."""

import io
import json
import multiprocessing
import signal
import sqlite3
import zipfile
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select, update
from threadpoolctl import threadpool_limits

from contracts.alignment import ComparisonRequest, PointsPlan, Side
from contracts.atlas import AlignmentRequest, AtlasRequest
from contracts.attribution_evaluation import EvaluationRequest
from contracts.audit import AuditPolicy, AuditRequest, ClassPolicy
from contracts.captures import CaptureRequest
from contracts.corpora import TextSource
from contracts.corrections import CorrectionRequest, Retraining
from contracts.data import DatasetRegistration, ScenesSource
from contracts.jobs import State
from contracts.labels import CandidateRequest, LabelRequest
from contracts.model import ModelRegistration
from contracts.sae import SaeRequest
from contracts.snapshots import SnapshotRequest
from contracts.steering_evaluation import SteeredConcept, SteeringEvaluationRequest
from contracts.training import PruningRequest, TrainingRequest
from orchestration.bootstrap import build
from orchestration.jobs.bell import SilentBell
from orchestration.jobs.reaper import Reaper
from orchestration.jobs.repository import next_queued
from orchestration.jobs.rows import PartRow, StageRow
from orchestration.jobs.runner import Runner
from services.kit.scenes.checkpoints import packaged_encoder, packaged_weights
from services.kit.settings import Settings
from services.model.language.pair import document, write_pair
from services.model.language.tiny import tiny_language_model
from tests.explanation.candidates.tiny_vlm import write_tiny_vlm
from tests.model.language.tiny_gguf import write_gguf

CNN = "entry_point:services.model.controlled.nets:scenes_cnn"
SCENES = 8 * 33  # one shard more than are collected in one go
KILL = "publish.before_rename:kill"
VERDICTS = ["forbidden", "spurious", "mixed"]
WORDS = ["a tag in the corner", "a red circle", "a star", "a ring", "a dark background", "a moon"]


def settings_in(home: Path) -> Settings:
    quick = timedelta(seconds=0.3)
    vlm = write_tiny_vlm(home.parent / "vlm")
    return Settings(
        home=home, threads=1, vlm_folder=vlm, heartbeat=quick, lease=timedelta(seconds=1), reaper_period=quick
    )


def requests_of(wiring, folder: Path):
    """One job after the other, of every kind, each as a function that submits it."""
    me, jobs = wiring.governance.operator(), wiring.jobs
    scenes = DatasetRegistration(name="scenes", source=ScenesSource(n=SCENES, strength=1.0, seed=3))
    weights = packaged_weights("cnn-1")
    yield lambda: jobs.register_dataset(me, scenes)
    yield lambda: jobs.register_model(me, ModelRegistration(name="cnn", architecture=CNN, weights=str(weights)))
    snapshot = SnapshotRequest(
        model="cnn",
        dataset="scenes",
        layers=["relu4", "head"],
        encoder=packaged_encoder(folder),
        name="s",
        k=5,
        shard=8,
    )
    yield lambda: jobs.build_snapshot(me, snapshot)
    cropped = snapshot.model_copy(update={"name": "cropped", "layers": ["relu4"], "crop": "activation-map"})
    yield lambda: jobs.build_snapshot(me, cropped)
    relevant = cropped.model_copy(update={"name": "relevant", "crop": "relevance", "rank_by": "relevance"})
    yield lambda: jobs.build_snapshot(me, relevant)
    yield lambda: jobs.build_labels(me, LabelRequest(snapshot="s", layers=["head"], vocabulary="list", names=WORDS))
    proposed = CandidateRequest(grid="contrastive", canvas=96)
    beside = LabelRequest(snapshot="s", layers=["head"], vocabulary="list", names=WORDS, candidates=proposed)
    yield lambda: jobs.build_labels(me, beside)
    policy = AuditPolicy(classes={"circle": ClassPolicy(valid=["a circle"], spurious=["a tag"])}, layers=["relu4"])
    yield lambda: jobs.audit(me, AuditRequest(snapshot=wiring.explanation.snapshot(me, "s").id, policy=policy))
    encoder = Path(packaged_encoder(folder).removeprefix("open_clip:scenes/"))
    described = json.loads(encoder.with_suffix(".json").read_text())
    shape = {name: described[name] for name in ("embed_dim", "vision_cfg")}
    tower = ModelRegistration(name="tower", architecture="open_clip:custom", config=shape, weights=str(encoder))
    yield lambda: jobs.register_model(me, tower)
    yield lambda: jobs.build_snapshot(
        me, snapshot.model_copy(update={"name": "t", "model": "tower", "layers": ["layer4"]})
    )
    texts = AuditPolicy(classes={"circle": ClassPolicy(text="a circle", valid=["a circle"], spurious=["a tag"])})
    yield lambda: jobs.audit(me, AuditRequest(snapshot=wiring.explanation.snapshot(me, "t").id, policy=texts))
    sides = [Side(model="cnn", layers=["relu4", "relu5"])]
    points = PointsPlan(tokens="pooled", per_sample=1)
    asked = ComparisonRequest(
        dataset="scenes", sides=sides, points=points, method="kmeans", parameters={"k": 6}, seeds=1, permutations=5
    )
    yield lambda: jobs.compare(me, asked)
    yield lambda: jobs.train_sae(
        me, SaeRequest(snapshot="s", layer="relu4", name="sae", latents=32, k=4, steps=200, dead_rows=2000)
    )
    sae = wiring.atlas.saes(me).items[0].id
    yield lambda: jobs.build_atlas(me, AtlasRequest(sae=sae, name="atlas", vocabulary="list", names=WORDS))
    yield lambda: jobs.align_atlas(me, AlignmentRequest(atlas="atlas", snapshot="s", layers=["relu4"]))
    taken = folder / "taken"
    zipfile.ZipFile(io.BytesIO(wiring.atlas.export_sae(me, sae).body)).extractall(taken)
    yield lambda: jobs.train_sae(me, SaeRequest(snapshot="s", layer="relu4", name="taken in", folder=str(taken)))
    texts = folder / "texts"
    texts.mkdir(exist_ok=True)
    for number in range(6):
        (texts / f"{number}.txt").write_text(" ".join(f"word{number * place}" for place in range(200)))
    yield lambda: jobs.register_dataset(me, DatasetRegistration(name="texts", source=TextSource(path=str(texts))))
    pair = write_pair(folder / "pair", each=2, steps=3)
    tiny = {"architecture": "causal_lm:llama", "config": {"perplexity_limit": None}}
    for name in ("first", "second"):
        model = ModelRegistration(name=name, weights=str(pair / name), **tiny)
        yield lambda model=model: jobs.register_model(me, model)
    short = DatasetRegistration(name="short", source=TextSource(path=str(pair / "corpus"), window=64))
    yield lambda: jobs.register_dataset(me, short)
    for name, layer in (("first", "model.layers.0"), ("second", "model.layers.1")):
        capture = CaptureRequest(model=name, corpus="short", layers=[layer], shard=40, name=f"of {name}")
        yield lambda capture=capture: jobs.capture_text(me, capture)
    text = SaeRequest(capture="of first", layer="model.layers.0", name="text", latents=24, k=3, steps=20, batch=32)
    yield lambda: jobs.train_sae(me, text)
    yield lambda: jobs.build_atlas(me, AtlasRequest(sae="text", name="words"))
    yield lambda: jobs.align_atlas(me, AlignmentRequest(atlas="words", capture="of second"))
    sea, kitchen = ([document(one, sentences=3, seed=2000 + n) for n in range(32)] for one in ("sea", "kitchen"))
    steering = SteeringEvaluationRequest(
        model="second",
        concepts=[SteeredConcept(name="sea", texts=sea)],
        others=kitchen,
        layer="model.layers.1",
        prompts=["the ", "we ", "a ", "one "],
        samples=1,
        strengths=[0.5],
        directions=1,
        max_tokens=5,
    )
    yield lambda: jobs.evaluate_steering(me, steering)
    training = TrainingRequest(name="tuned", model="cnn", dataset="scenes", epochs=1, learning_rate=0.01)
    yield lambda: jobs.train_model(me, training)
    pruning = PruningRequest(name="smaller", model="cnn", dataset="scenes", amounts=[0.1], loss=1.0, epochs=1)
    yield lambda: jobs.prune_model(me, pruning)
    judged = EvaluationRequest(
        model="cnn", dataset="scenes", methods=["gradcam", "epsilon_plus"], mask="object", samples=16, steps=4
    )
    yield lambda: jobs.evaluate_attributions(me, judged)
    gguf = write_gguf(tiny_language_model(seed=1), folder / "tiny.gguf")
    language = ModelRegistration(
        name="lm", architecture="gguf:llama", weights=str(gguf), config={"perplexity_limit": 1e9}
    )
    yield lambda: jobs.register_model(me, language)
    hans = ScenesSource(n=120, split="validation", planting="never")
    yield lambda: jobs.register_dataset(me, DatasetRegistration(name="never", source=hans))
    tagged = hans.model_copy(update={"planting": "always"})
    yield lambda: jobs.register_dataset(me, DatasetRegistration(name="always", source=tagged))
    (audit,) = (one for one in wiring.audit.audits(me).items if one.snapshot_name == "s")
    correction = CorrectionRequest(
        audit=audit.id, name="mended", clean="never", artefact="always", layer="relu4", verdicts=VERDICTS, loss=1.0
    )
    yield lambda: jobs.correct(me, correction)
    for planting in ("never", "always"):
        more = DatasetRegistration(name=f"more {planting}", source=ScenesSource(n=120, seed=9, planting=planting))
        yield lambda more=more: jobs.register_dataset(me, more)
    lesson = Retraining(datasets=["more never", "more always"], steps=60, batch=16)
    yield lambda: jobs.correct(me, correction.model_copy(update={"name": "retrained", "retrain": lesson}))


def work(settings: Settings, failpoint: str | None, of: str) -> None:
    """Run the queued parts of a stage or of a whole job; with a failpoint the process does not come back."""
    threadpool_limits(1)  # as the environment of a real worker does
    wiring = build(settings.model_copy(update={"failpoint": failpoint}))
    runner = Runner(
        wiring.database, wiring.blobs, wiring.settings, registry=wiring.registry, bell=SilentBell(), worker="w"
    )
    while (part := queued(wiring)) is not None and part.startswith(f"{of}."):
        runner.run(part)


def queued(wiring) -> str | None:
    with wiring.database.reading() as db:
        return next_queued(db)


def one_life(settings: Settings, failpoint: str | None, of: str) -> int | None:
    """Exit code of a worker process that works on a stage or a job."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.preloaded"])
    process = context.Process(target=work, args=(settings, failpoint, of))
    process.start()
    process.join(timeout=240)
    assert process.exitcode is not None, "a worker hangs"
    return process.exitcode


def run_all(settings: Settings, folder: Path, *, kills: bool) -> dict[str, int]:
    """Run every job to its end; stage kind -> times that a worker was killed in it."""
    wiring = build(settings)
    me, killed = wiring.governance.operator(), dict[str, int]()
    reaper = Reaper(wiring.database, wiring.blobs, settings, bell=SilentBell(), name="reaper")
    for submit in requests_of(wiring, folder):
        job = submit()
        while (part := queued(wiring)) is not None:
            stage = part.rpartition(".")[0]
            with wiring.database.reading() as db:
                kind = db.scalars(select(StageRow.name).where(StageRow.id == stage)).one()
            if kills and kind not in killed:
                assert one_life(settings, KILL, stage) == -signal.SIGKILL, kind
                killed[kind] = 1
                with wiring.database.writing() as db:  # time passes
                    db.execute(update(PartRow).where(PartRow.lease_until.is_not(None)).values(lease_until=1.0))
                assert reaper.round().requeued == 1, kind
            assert one_life(settings, None, stage if kills else job.id) == 0, kind
        ended = wiring.jobs.job(me, job.id)
        assert ended.state == State.DONE, ended.failures
    wiring.close()
    return killed


def artifacts(home: Path) -> dict[str, str]:
    with closing(sqlite3.connect(home / "xsys.sqlite")) as db:
        return dict(db.execute("SELECT key, blob FROM artifact"))
