"""The `relevances` stage: what each component contributed to the prediction, for a stored dataset and model."""

import numpy as np
import torch

from services.kit.pictures import Manifest
from services.kit.stages import Work
from services.model.attribution import attribute
from services.model.preprocess import to_batch
from services.model.relevances import collect_relevances
from tests.model.test_activation_stage import LAYERS, N, arrays, stored  # noqa: F401


def collect(stored, *, start=0, stop=N, missing=LAYERS, rule="epsilon"):  # noqa: F811
    models, ref, layers, manifest = stored
    spec = {
        "model": ref.model_dump(mode="json"), "layers": [layer.model_dump(mode="json") for layer in layers],
        "start": start, "stop": stop, "rule": rule,
    }  # fmt: skip
    work = Work("w", spec, {"manifest": manifest}, frozenset(missing), models.blobs, lambda units: None)
    collect_relevances(work, models)
    return work


def test_relevance_is_that_of_the_predicted_output_summed_over_places(stored):  # noqa: F811
    models, ref, layers, manifest = stored
    pictures = Manifest.load(models.blobs.open(manifest), models.blobs).pictures(0, N)
    with models.loaded(ref) as built:
        batch = to_batch(pictures, ref.preprocessing)
        target = built.model(batch).argmax(1)
        expected = attribute(built.model, batch, target, "epsilon", layers=LAYERS)
    work = collect(stored)
    for layer in layers:
        found, whole = arrays(stored, work, layer.name), expected.layers[layer.name].detach()
        whole = whole.flatten(2).sum(2) if whole.ndim > 2 else whole
        assert found["target"].tolist() == target.tolist()
        sides = found["values"] + found["negative"] if layer.signed else found["values"]
        np.testing.assert_allclose(sides, whole.numpy(), atol=2e-5)
        assert found["values"].shape == (N, layer.width)


def test_signed_layers_keep_both_sides_apart(stored):  # noqa: F811
    signed = [layer.name for layer in stored[2] if layer.signed]
    assert "fc" in signed
    found = arrays(stored, collect(stored), "fc")
    rows, target = torch.arange(N), torch.from_numpy(found["target"]).long()
    score = torch.from_numpy(found["values"])[rows, target]
    assert bool((score > 0).any())  # the largest score is relevant to itself, and nothing else in that layer is
    assert float(np.abs(found["negative"]).sum(1).max()) == 0 or bool((score == 0).any())


def test_equal_runs_give_equal_bytes_and_only_missing_layers_are_made(stored):  # noqa: F811
    assert collect(stored).emitted == collect(stored).emitted
    assert set(collect(stored, missing=("fc",)).emitted) == {"fc"}


def test_shards_are_slices_of_the_whole(stored):  # noqa: F811
    whole = arrays(stored, collect(stored), "layer1")["values"]
    part = arrays(stored, collect(stored, start=3, stop=6), "layer1")["values"]
    np.testing.assert_allclose(part, whole[3:6], atol=1e-5)
