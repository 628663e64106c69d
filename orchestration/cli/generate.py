"""`xsys generate`: continue a prompt, shown while it is written."""

from __future__ import annotations

from typing import Annotated

import typer

from contracts.errors import InvalidRequest
from contracts.language import GenerationRequest, GenerationState
from contracts.steering import Intervention
from orchestration.cli.app import Json, desk
from orchestration.cli.desk import Desk
from orchestration.cli.render import show_json


def attach(app: typer.Typer) -> None:
    """Add this command to the tree."""
    app.command("generate")(generate)


def generate(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Name or id of a language model.")],
    prompt: Annotated[str, typer.Argument(help="Text to continue.")],
    chat: Annotated[bool, typer.Option("--chat", help="Put the prompt into the model's chat template.")] = False,
    samples: Annotated[int, typer.Option(help="Continuations; each has the next seed.")] = 1,
    tokens: Annotated[int, typer.Option(help="New tokens at most.")] = 40,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token.")] = 0.7,
    top_k: Annotated[int, typer.Option(help="Draw among so many tokens; 0: all.")] = 64,
    seed: Annotated[int, typer.Option(help="Seed of the first continuation.")] = 0,
    steer: Annotated[
        list[str] | None,
        typer.Option(
            help="LAYER:INDEX:STRENGTH adds to a component, in norms of its layer; or an intervention as JSON."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Continue a prompt with a language model."""
    at = desk(context)
    query = GenerationRequest(
        prompt=prompt, chat=chat, samples=samples, max_tokens=tokens, temperature=temperature, top_k=top_k, seed=seed,
        interventions=[intervention_of(text) for text in steer or []], scores=bool(steer),
    )  # fmt: skip
    if json:
        show_json(at.model.generate(at.caller, model, query))
        return
    if samples == 1 and not steer:
        typer.echo("" if chat else prompt, nl=False)
        follow(at, at.model.open_generation(at.caller, model, query))
        return
    for row in at.model.generate(at.caller, model, query).rows:
        judged = ""
        if row.scores is not None:
            perplexity = "–" if row.scores.perplexity is None else f"{row.scores.perplexity:.1f}"
            judged = f", perplexity {perplexity}, repeated 4-grams {row.scores.repeated:.0%}"
        typer.echo(f"--- {row.arm}, seed {row.seed}{judged}\n{'' if chat else prompt}{row.text}")


def intervention_of(text: str) -> Intervention:
    """Read `LAYER:INDEX:STRENGTH`, or JSON; the short form acts on the prompt and on what is written, nowhere else."""
    if text.lstrip().startswith("{"):
        return Intervention.model_validate_json(text)
    layer, _, rest = text.partition(":")
    index, _, strength = rest.partition(":")
    if not (layer and index.isdigit() and strength):
        raise InvalidRequest(f"`{text}` is not LAYER:INDEX:STRENGTH", field="steer")
    target = {"kind": "component", "layer": layer, "index": index}
    return Intervention.model_validate(
        {"target": target, "change": "add", "strength": strength, "places": {"kind": "kept"}}
    )


def follow(at: Desk, state: GenerationState) -> None:
    """Print the only row of a generation as it grows; Ctrl-C stops the model too."""
    shown = 0
    try:
        while True:
            text = state.rows[0].text
            typer.echo(text[shown:], nl=False)
            shown = len(text)
            if state.ended:
                break
            state = at.model.generation(at.caller, state.id, state.version)
    finally:
        if not state.ended:
            at.model.close_generation(at.caller, state.id)
    typer.echo()
