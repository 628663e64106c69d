"""Which rules localise best on the controlled scenes: settings chosen on validation scenes, figures on test scenes.

Five classifiers a kind are trained once and kept in the data folder. Coordinate ascent from several starts picks the
setting whose worst margin over the peers, among the five localisation figures, is largest; the test scenes are seen by
what it picked alone. Intervals are of a paired bootstrap over models, and over pictures within each.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.report import Report
from contracts.data import ScenesSource
from services.kit.scenes import draw_scene, render
from services.kit.scenes.checkpoints import packaged_weights
from services.kit.settings import load_settings
from services.model.attribution import Assignment, Attention, Composite, Epsilon, Residual, attribute
from services.model.attribution.baselines import METHODS
from services.model.attribution.evaluation import LOCALISATION, pixel_maps
from services.model.attribution.rendering import on_pixels
from services.model.attribution.rules import AlphaBeta, Flat, Gamma, Magnitude, StakeCap, WSquare
from services.model.controlled.nets import CLASSES, scenes_cnn, scenes_vit
from services.model.controlled.pictures import to_input
from services.model.controlled.store import Asked, trained

SEEDS = range(5)
PEERS = {
    "vit": ("attnlrp", "cp_lrp", "cp_gamma_0.1", "cp_gamma_0.25", "cp_gamma", "rollout", "chefer", "gradcam"),
    "cnn": (
        "gradient", "gradient_x_input", "integrated_gradients", "smoothgrad", "gradcam", "epsilon_gamma",
        "epsilon_gamma_box", "epsilon_plus", "epsilon_plus_flat", "epsilon_alpha2_beta1_flat",
    ),
}  # fmt: skip
JUDGES = {"vit": ("attnlrp", "cp_gamma_0.1", "cp_gamma_0.25", "cp_gamma", "rollout", "chefer"), "cnn": PEERS["cnn"]}
Figures = dict[str, Tensor]  # by metric: one value a picture, over all models


@dataclass(frozen=True)
class Scenes:
    """Pictures with the masks of their objects, and what a model of each seed makes of them."""

    inputs: Tensor
    masks: Tensor
    labels: Tensor

    def right(self, model: nn.Module) -> Tensor:
        """Positions of the pictures that a model gets right; other predictions have no known cause."""
        with torch.no_grad():
            return (model(self.inputs).argmax(1) == self.labels).nonzero().flatten()


@dataclass(frozen=True)
class Setting:
    """One rule of the family that is searched.

    Parameters
    ----------
    dense, conv : `gamma:G`, `cap:C`, `plus`, `magnitude` or `eps`; `@T` behind it routes along |c|^(1/T).
    first : rule of the first convolution: `same` as the others, one of those, `flat` or `wsquare`.
    values : rule along the attention's weights; dense's family.
    residual : eps, abs or positive. query : stake of queries and keys together.
    temperature, mix, heads : of the attention.
    """

    dense: str = "gamma:1"
    conv: str = "gamma:1"
    first: str = "same"
    values: str = "eps"
    residual: str = "eps"
    query: float = 0.0
    temperature: float = 1.0
    mix: float = 0.0
    heads: float = 1.0

    def composite(self) -> Composite:
        """The rule as the engine takes it."""
        first = None if self.first == "same" else affine(self.first)
        attention = Attention(
            1 - self.query, self.query / 2, self.query / 2, temperature=self.temperature, mix=self.mix,
            head_temperature=self.heads,
        )  # fmt: skip
        return Composite(
            (
                *([Assignment(first, kind="conv", first=True)] if first else []),
                Assignment(affine(self.dense), kind="linear"),
                Assignment(affine(self.conv), kind=("conv", "batchnorm")),
                Assignment(affine(self.values), kind="values"), Assignment(attention),
                Assignment(Residual(self.residual)),
            )
        )  # fmt: skip


AFFINE = (
    "eps", "gamma:0.25", "gamma:0.5", "gamma:1", "gamma:2", "gamma:5", "cap:1.2", "cap:1.5", "cap:2", "plus",
    "magnitude", "plus@0.5", "plus@0.7", "cap:1.2@0.5", "cap:1.2@0.7", "cap:1.5@0.7",
)  # fmt: skip
GRID: dict[str, dict[str, tuple[Any, ...]]] = {
    "vit": {
        "first": ("same", "flat", "wsquare", *AFFINE), "conv": AFFINE,
        "dense": ("eps", "gamma:0.25", "gamma:0.5", "gamma:1", "gamma:2", "cap:1.2", "plus", "magnitude"),
        "values": ("eps", "gamma:0.25", "gamma:1", "gamma:5", "plus"), "residual": ("eps", "abs", "positive"),
        "query": (0.0, 0.1, 0.3), "temperature": (0.5, 0.7, 1.0, 1.5), "mix": (0.0, 0.25),
        "heads": (0.5, 0.7, 1.0, 1.5),
    },
    "cnn": {"first": ("same", "flat", "wsquare", *AFFINE), "conv": AFFINE, "dense": AFFINE},
}  # fmt: skip
STARTS = (
    Setting(), Setting("gamma:2", "cap:1.5", "plus@0.5", values="gamma:5"), Setting("plus", "plus", residual="abs"),
)  # fmt: skip


def affine(text: str) -> Any:
    """Read `family:number`."""
    named, _, heat = text.partition("@")
    family, _, number = named.partition(":")
    temperature = float(heat or 1)
    if family in ("gamma", "cap"):
        made = Gamma if family == "gamma" else StakeCap
        return made(float(number), temperature=temperature)
    if family == "plus":
        return AlphaBeta(1.0, 0.0, temperature=temperature)
    return {"eps": Epsilon(), "magnitude": Magnitude(), "flat": Flat(), "wsquare": WSquare()}[family]


def scenes(split: str, count: int) -> Scenes:
    """Draw scenes without any artefact."""
    source = ScenesSource(n=count, seed=7, split=split, planting="never")  # type: ignore[arg-type]
    drawn = [draw_scene(source, index) for index in range(count)]
    made = [render(scene, source.side) for scene in drawn]
    pixels = torch.cat([to_input(each.pixels[None]) for each in made])
    masks = torch.stack([torch.from_numpy(each.masks["object"]) for each in made])
    return Scenes(pixels, masks, torch.tensor([CLASSES.index(scene.item.kind) for scene in drawn]))


def models_of(kind: str, folder: Path | None) -> list[nn.Module]:
    """Train the five classifiers of a kind in a folder, or find them there; without a folder, the packaged one."""
    if folder is None:
        paths = [packaged_weights(f"{kind}-0")]
    else:
        paths = [trained(Asked(kind, seed=seed), folder / f"{kind}-{seed}") for seed in SEEDS]  # type: ignore[arg-type]
    found = []
    for path in paths:
        model = (scenes_cnn() if kind == "cnn" else scenes_vit()).model
        model.load_state_dict(load_file(path))
        found.append(model.eval().requires_grad_(False))
    return found


def by_name(name: str) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """A peer as a function to maps."""
    if name in METHODS:
        return METHODS[name]
    if name.startswith("cp_gamma_"):
        return by_rule(Setting(*[f"gamma:{name[9:]}"] * 2).composite())
    return by_rule(name)


def by_rule(rule: str | Composite) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """A rule as a function to maps."""
    return lambda model, x, target: attribute(model, x, target, rule, verify=False).relevance


def judged(
    method: Callable[[nn.Module, Tensor, Tensor], Tensor], models: Sequence[nn.Module], of: Scenes, batch: int = 64
) -> list[Figures]:
    """The five localisation figures at pixel resolution, for the right predictions of each model."""
    found = []
    for model in models:
        rows = of.right(model)
        parts: list[Figures] = []
        for some in rows.split(batch):
            maps = pixel_maps(method(model, of.inputs[some], of.labels[some]).detach())
            maps = on_pixels(maps, tuple(of.inputs.shape[-2:]))
            parts.append({name: metric(maps, of.masks[some]) for name, metric in LOCALISATION.items()})
        found.append({name: torch.cat([part[name] for part in parts]) for name in LOCALISATION})
    return found


def means(figures: Sequence[Figures]) -> dict[str, float]:
    """Mean over models of the mean over pictures."""
    return {name: float(torch.stack([each[name].nanmean() for each in figures]).mean()) for name in LOCALISATION}


def surplus(ours: Sequence[Figures], theirs: Sequence[Figures], metric: str) -> float:
    """Mean paired difference over pictures of all models, in its standard errors."""
    apart = torch.cat([mine[metric] - other[metric] for mine, other in zip(ours, theirs, strict=True)])
    apart = apart[~apart.isnan()]
    error = float(apart.std()) / len(apart) ** 0.5
    return float(apart.mean()) / max(error, 1 / len(apart))


def search(
    kind: str, models: Sequence[nn.Module], of: Scenes, peers: dict[str, list[Figures]], *,
    grid: dict[str, tuple[Any, ...]], sweeps: int, starts: Sequence[Setting], log: Callable[[str], None],
) -> tuple[Setting, dict[Setting, dict[str, float]]]:  # fmt: skip
    """Coordinate ascent on the worst surplus over any peer in any figure; all that was tried comes back."""
    tried: dict[Setting, dict[str, float]] = {}
    margins: dict[Setting, float] = {}

    def margin(setting: Setting) -> float:
        if setting not in tried:
            found = judged(by_rule(setting.composite()), models, of)
            tried[setting] = means(found)
            margins[setting] = min(surplus(found, peers[peer], name) for peer in JUDGES[kind] for name in LOCALISATION)
        return margins[setting]

    for start in starts:
        at = start
        for _ in range(sweeps):
            before = at
            for name, values in grid.items():
                at = max([at, *(replace(at, **{name: value}) for value in values)], key=margin)
            log(f"{kind}: {len(tried)} settings tried, worst surplus {margin(at):+.2f} standard errors at {shown(at)}")
            if at == before:
                break
    return max(tried, key=margin), tried


def difference(ours: Sequence[Figures], theirs: Sequence[Figures], metric: str, draws: int = 2000) -> tuple[float, ...]:
    """Mean paired difference with its 95 % interval, drawn over models and over pictures within each."""
    apart = [mine[metric] - other[metric] for mine, other in zip(ours, theirs, strict=True)]
    apart = [each[~each.isnan()] for each in apart]
    draw = torch.Generator().manual_seed(0)
    sums = torch.zeros(draws, dtype=torch.float64)
    within = torch.stack(
        [each[torch.randint(len(each), (draws, len(each)), generator=draw)].mean(1) for each in apart]
    )  # one mean a model and draw; the models are drawn next
    chosen = torch.randint(len(apart), (len(apart), draws), generator=draw)
    sums = within.gather(0, chosen).mean(0)
    low, high = torch.quantile(sums, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return float(torch.stack([each.mean() for each in apart]).mean()), low, high


def front(points: dict[str, dict[str, float]]) -> list[str]:
    """Names of those that no other equals or beats on all figures."""
    names = list(points)
    return [
        name
        for name in names
        if not any(
            all(points[other][m] >= points[name][m] for m in LOCALISATION) and points[other] != points[name]
            for other in names
        )
    ]


def shown(setting: Setting) -> str:
    """What differs from the defaults."""
    return ", ".join(
        f"{f.name}={getattr(setting, f.name)}" for f in fields(setting) if getattr(setting, f.name) != f.default
    )


def study(report: Report, kind: str, *, quick: bool, folder: Path) -> None:
    """Search, then the test."""
    models = models_of(kind, None if quick else folder)
    begun = time.perf_counter()
    validation, test = scenes("validation", 8 if quick else 160), scenes("test", 32 if quick else 300)
    peers = {name: judged(by_name(name), models, validation) for name in PEERS[kind]}
    grid = dict(list(GRID[kind].items())[:2]) if quick else GRID[kind]
    ours, tried = search(
        kind, models, validation, peers, grid=grid, sweeps=1 if quick else 3, starts=STARTS[:1] if quick else STARTS,
        log=lambda text: print(f"# {text}, {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True),
    )  # fmt: skip
    figures = {name: judged(by_name(name), models, test) for name in PEERS[kind]}
    found = judged(by_rule(ours.composite()), models, test)
    table = {name: means(each) for name, each in figures.items()} | {f"ours ({shown(ours)})": means(found)}
    for name, row in table.items():
        for metric, value in row.items():
            report.line(metric=f"{kind}, {metric}, {name}", value=value, unit="1", n=sum(len(f[metric]) for f in found))
    goal = kind == "vit" and not quick  # one model has no interval over models
    for metric in LOCALISATION:
        rival = max(JUDGES[kind], key=lambda name: table[name][metric])
        mean, low, high = difference(found, figures[rival], metric)
        report.line(
            metric=f"{kind}, {metric}, gain over the best peer", value=mean, unit="1",
            goal="interval above 0" if goal else None, ok=low > 0 if goal else None, peer=rival,
            peer_value=table[rival][metric], n=len(models), interval=(low, high),
        )  # fmt: skip
    points = {name: means(each) for name, each in peers.items()} | {shown(each): row for each, row in tried.items()}
    for name in front(points):
        row = " ".join(f"{metric} {value:.3f}" for metric, value in points[name].items())
        print(f"# front on validation: {name or 'gamma 1'}: {row}", file=sys.stderr)


def main() -> int:
    """Exit with 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attribution_search", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the packaged model of each kind, few scenes, one sweep")
    parser.add_argument("--full", action="store_true", help="the default")
    parser.add_argument("--kind", choices=("vit", "cnn"), help="one kind only")
    chosen = parser.parse_args()
    report, folder = Report(), load_settings().home.absolute() / "controlled"
    for kind in (chosen.kind,) if chosen.kind else ("vit", "cnn"):
        study(report, kind, quick=chosen.quick, folder=folder)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
