"""The `features` stage: single vectors of layers at places that all layers and models share."""

import numpy as np
import pytest
import torch

from contracts.alignment import PointsPlan
from contracts.errors import InvalidRequest, LayoutError, UnknownPooling
from contracts.model import Layer, LayerKind
from services.kit.arrays import load_arrays
from services.kit.points import require_fitting
from services.kit.stages import Work
from services.model.capture.tokens import draw_cells, take_points
from services.model.features import collect_features
from tests.model.test_activation_stage import N, stored  # noqa: F401

PLAN = PointsPlan(per_sample=3, grid=2, seed=5)


def layer(kind: LayerKind, width: int = 4) -> Layer:
    return Layer(name="x", kind=kind, module="M", width=width, signed=True, pooling="mean")


def collect(stored, plan=PLAN, *, start=0, stop=N, batch=4, names=("layer1", "layer3.1.bn2")):  # noqa: F811
    models, ref, layers, manifest = stored
    spec = {
        "model": ref.model_dump(mode="json"), "layers": [item.model_dump(mode="json") for item in layers],
        "points": plan.model_dump(mode="json"), "start": start, "stop": stop, "batch": batch,
    }  # fmt: skip
    work = Work("w", spec, {"manifest": manifest}, frozenset(names), models.blobs, lambda units: None)
    collect_features(work, models)
    return {name: load_arrays(models.blobs.open(sha)) for name, sha in work.emitted.items()}


def test_a_point_is_the_mean_of_its_cell_in_the_map_of_the_bare_model(stored):  # noqa: F811
    from services.kit.pictures import Manifest
    from services.model.preprocess import to_batch

    models, ref, _, manifest = stored
    found = collect(stored)["layer1"]
    pictures = Manifest.load(models.blobs.open(manifest), models.blobs).pictures(0, N)
    with models.loaded(ref) as built, torch.inference_mode():
        kept = []
        handle = built.model.layer1.register_forward_hook(lambda module, given, out: kept.append(out))
        built.model(to_batch(pictures, ref.preprocessing))
        handle.remove()
    half = kept[0].shape[2] // 2
    assert found["values"].shape == (3 * N, 64) and found["values"].dtype == np.float32
    for row, (sample, cell) in enumerate(zip(found["sample"], found["cell"], strict=True)):
        top, left = half * (cell // 2), half * (cell % 2)
        patch = kept[0][sample, :, top : top + half, left : left + half]
        np.testing.assert_allclose(found["values"][row], patch.mean((1, 2)).numpy(), atol=1e-4)


def test_layers_and_shards_share_their_places(stored):  # noqa: F811
    whole = collect(stored)
    pieces = [collect(stored, start=start, stop=stop, batch=2) for start, stop in ((0, 3), (3, N))]
    for name in whole:
        for key in ("sample", "cell"):
            assert np.array_equal(whole["layer1"][key], whole[name][key])
            assert np.array_equal(whole[name][key], np.concatenate([piece[name][key] for piece in pieces]))


def test_places_cover_the_grid_evenly_and_never_repeat_within_a_sample():
    plan = PointsPlan(per_sample=4, grid=5, seed=1)
    cells = draw_cells(range(3000), plan)
    counts = np.bincount(cells.ravel(), minlength=25)
    expected = cells.size / 25
    assert ((counts - expected) ** 2 / expected).sum() < 43  # chi-squared with 24 degrees, p = 0.01
    assert (np.diff(np.sort(cells, axis=1), axis=1) > 0).all()
    assert np.array_equal(draw_cells(range(7, 9), plan), cells[7:9])
    assert not np.array_equal(draw_cells(range(7, 9), PointsPlan(per_sample=4, grid=5, seed=2)), cells[7:9])


def test_patch_tokens_form_a_picture_without_the_special_ones():
    output = torch.arange(2 * 17 * 4, dtype=torch.float32).reshape(2, 17, 4)
    cells = torch.tensor([[0], [3]])
    plan = PointsPlan(per_sample=1, grid=2)
    found = take_points(output, layer(LayerKind.TOKENS), cells, plan, special_tokens=1)
    patches = output[:, 1:].reshape(2, 4, 4, 4)
    assert torch.allclose(found[0, 0], patches[0, :2, :2].mean((0, 1)))
    assert torch.allclose(found[1, 0], patches[1, 2:, 2:].mean((0, 1)))
    first = take_points(output, layer(LayerKind.TOKENS), cells, PointsPlan(tokens="cls"), special_tokens=1)
    assert torch.equal(first[:, 0], output[:, 0])
    pooled = take_points(output, layer(LayerKind.TOKENS), cells, PointsPlan(tokens="pooled"), special_tokens=1)
    assert torch.allclose(pooled[:, 0], output[:, 1:].mean(1))
    with pytest.raises(LayoutError):
        take_points(output, layer(LayerKind.TOKENS), cells, plan)


def test_points_that_a_layer_does_not_have_are_refused():
    require_fitting([layer(LayerKind.MAP)], PLAN)
    with pytest.raises(InvalidRequest):
        require_fitting([layer(LayerKind.MAP)], PointsPlan(per_sample=5, grid=2))
    with pytest.raises(UnknownPooling):
        require_fitting([layer(LayerKind.VECTOR)], PLAN)
    with pytest.raises(UnknownPooling):
        require_fitting([layer(LayerKind.MAP)], PointsPlan(tokens="cls"))
    with pytest.raises(UnknownPooling):
        require_fitting([layer(LayerKind.TOKENS)], PointsPlan(tokens="cls"), special_tokens=0)
