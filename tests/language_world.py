"""A data folder in which a tiny pair of language models is captured, and a way to run jobs without a worker."""

from pathlib import Path

from contracts.atlas import AlignmentRequest, AtlasRequest
from contracts.captures import CaptureRequest
from contracts.corpora import TextSource
from contracts.data import DatasetRegistration
from contracts.jobs import State
from contracts.model import ModelRegistration
from contracts.sae import SaeRequest
from orchestration.bootstrap import build
from orchestration.jobs.bell import SilentBell
from orchestration.jobs.repository import next_queued
from orchestration.jobs.runner import Runner
from services.kit.settings import Settings
from services.model.language.pair import write_pair

LAYER = "model.layers.0"
SUBJECT_LAYER = "model.layers.1"
WORDS = ["sea", "sailor", "kitchen", "bread", "sky", "planet", "garden", "flower", "engine", "music"]


class LanguageWorld:
    """The wiring of a data folder; jobs run here, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wiring = build(Settings(home=folder / "home", threads=1))
        self.me = self.wiring.governance.operator()
        self.runner = Runner(
            self.wiring.database, self.wiring.blobs, self.wiring.settings, registry=self.wiring.registry,
            bell=SilentBell(), worker="w",
        )  # fmt: skip

    def run(self, job) -> str:
        """Run a job to its end and return its result."""
        while True:
            with self.wiring.database.reading() as db:
                part = next_queued(db)
            if part is None:
                break
            self.runner.run(part)
        ended = self.wiring.jobs.job(self.me, job.id)
        assert ended.state == State.DONE, ended.failures
        return str(ended.result)

    def register(self, pair: Path) -> None:
        """Register the corpus and both models of a pair."""
        jobs = self.wiring.jobs
        source = TextSource(path=str(pair / "corpus"), window=64)
        self.run(jobs.register_dataset(self.me, DatasetRegistration(name="texts", source=source)))
        for name in ("first", "second"):
            self.run(
                jobs.register_model(
                    self.me,
                    ModelRegistration(
                        name=name, architecture="causal_lm:llama", weights=str(pair / name),
                        config={"perplexity_limit": None},
                    ),
                )
            )  # fmt: skip

    def build_all(self) -> None:
        """Capture both models, train, label, align."""
        jobs = self.wiring.jobs
        for model, layer in (("first", LAYER), ("second", SUBJECT_LAYER)):
            request = CaptureRequest(model=model, corpus="texts", layers=[layer], shard=400, name=f"of {model}")
            self.run(jobs.capture_text(self.me, request))
        sae = SaeRequest(
            capture="of first", layer=LAYER, name="latents", latents=64, k=4, steps=300, batch=128, learning_rate=3e-3
        )
        self.run(jobs.train_sae(self.me, sae))
        self.run(jobs.build_atlas(self.me, AtlasRequest(sae="latents", name="atlas", vocabulary="list", names=WORDS)))
        self.run(jobs.align_atlas(self.me, AlignmentRequest(atlas="atlas", capture="of second", name="carried")))


def language_world(folder: Path) -> LanguageWorld:
    """Make a pair, register it, and build everything on it."""
    pair = write_pair(folder / "pair")
    world = LanguageWorld(folder)
    world.register(pair)
    world.build_all()
    return world
