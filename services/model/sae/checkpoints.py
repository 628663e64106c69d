"""Checkpoints from which a training goes on bit for bit."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

from contracts.sae import CheckpointMismatch
from services.model.sae.stream import Position, Stream
from services.model.sae.training import Recipe, Scaling, Trainer, recipe_facts


def save_checkpoint(path: Path, trainer: Trainer, stream: Stream) -> None:
    """Write weights, Adam's moments, silent rows, threshold, step and position of the stream; by rename."""
    tensors = {
        **{f"parameter/{name}": value for name, value in trainer.parameters.items()},
        **trainer.moments, "silent": trainer.silent, "threshold": trainer.threshold, "mean": trainer.scaling.mean,
    }  # fmt: skip
    facts = {
        "recipe": recipe_facts(trainer.recipe), "step": trainer.step, "scale": trainer.scaling.scale.hex(),
        "position": asdict(stream.position), "stream": _described(stream),
    }  # fmt: skip
    partial = path.with_suffix(".partial")
    save_file({name: value.contiguous() for name, value in tensors.items()}, partial, {"facts": json.dumps(facts)})
    partial.replace(path)


def load_checkpoint(path: Path, recipe: Recipe, stream: Stream) -> Trainer:
    """Read a checkpoint, move the stream to its position, and return the trainer as it was.

    Raises
    ------
    CheckpointMismatch : it was made with another recipe, or on other shards.
    """
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["facts"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    for part, now in (("recipe", recipe_facts(recipe)), ("stream", _described(stream))):
        changed = sorted(name for name in now if facts[part].get(name) != now[name])
        if changed:
            raise CheckpointMismatch(f"another {part}: {', '.join(changed)}", field=changed[0], changed=list(changed))
    scaling = Scaling(tensors["mean"], float.fromhex(facts["scale"]))
    trainer = Trainer(len(scaling.mean), recipe, scaling)
    trainer.step = int(facts["step"])
    trainer.parameters = {name: tensors[f"parameter/{name}"] for name in trainer.parameters}
    trainer.moments = {name: tensors[name] for name in trainer.moments}
    trainer.silent, trainer.threshold = tensors["silent"], tensors["threshold"]
    stream.position = Position(**facts["position"])
    return trainer


def _described(stream: Stream) -> dict[str, object]:
    return {"rows": [shard.rows for shard in stream.shards], "batch": stream.batch, "seed": stream.seed}


def run(trainer: Trainer, stream: Stream, *, until: int | None = None) -> list[float]:
    """Train to a step (default: the recipe's last) and return the losses on the way."""
    losses = []
    while trainer.step < min(until or trainer.recipe.steps, trainer.recipe.steps):
        losses.append(trainer.train(stream.next()).loss)
    return losses
