"""The features stage: points of several layers from one forward pass over a shard of pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.alignment import PointsPlan
from contracts.model import Layer, ModelRef
from services.kit.pictures import Manifest
from services.kit.points import require_fitting
from services.kit.stages import Work
from services.model.service import Models

if TYPE_CHECKING:
    from torch import Tensor


def collect_features(work: Work, models: Models) -> None:
    """Put out the points of each layer that is missing: `values` [samples * p, C], `sample`, `cell` [samples * p]."""
    import numpy as np
    import torch

    from services.model.adapters.registry import adapter_for
    from services.model.capture.hooks import captured, evaluating, require_finite
    from services.model.capture.pooling import Pooled
    from services.model.capture.tokens import draw_cells, take_points
    from services.model.preprocess import batches, reads_pictures

    spec = work.spec
    ref, plan = ModelRef.model_validate(spec["model"]), PointsPlan.model_validate(spec["points"])
    start, stop, size = (int(str(spec[name])) for name in ("start", "stop", "batch"))
    layers = [layer for layer in map(Layer.model_validate, spec["layers"]) if layer.name in work.missing]
    pick = adapter_for(ref.architecture)[0].pick
    cells = draw_cells(range(start, stop), plan)
    points: dict[str, list[Tensor]] = {layer.name: [] for layer in layers}
    pictures = Manifest.load(work.path("manifest"), work.blobs).pictures(start, stop)
    done = 0
    with models.loaded(ref, folded=True) as built, evaluating(built.model):
        special = built.special_tokens
        require_fitting(layers, plan, special_tokens=special)
        for batch in batches(iter(pictures), reads_pictures(ref), size):
            at = torch.from_numpy(cells[done : done + len(batch)].astype(np.int64))

            def reduce(layer: Layer, output: Tensor, at: Tensor = at) -> Pooled:
                return Pooled(take_points(output, layer, at, plan, special_tokens=special))

            with captured(built.model, layers, pick=pick, reduce=reduce) as kept:
                built.model(batch)
                for name, found in kept.take().items():
                    require_finite(name, found.values.sum(dim=1), start + done)
                    points[name].append(found.values)
            done += len(batch)
            work.advance(len(batch))
    sample = np.repeat(np.arange(start, stop, dtype=np.int32), cells.shape[1])
    for layer in layers:
        values = torch.cat(points[layer.name]).flatten(0, 1).numpy()
        arrays = {"values": values, "sample": sample, "cell": cells.ravel()}
        work.emit_arrays(layer.name, arrays, {"start": start, "stop": stop, "layer": layer.name})
