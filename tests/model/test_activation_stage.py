"""The `activations` stage on a stored dataset and a stored model."""

import hashlib
import io

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from contracts.data import Sample
from contracts.errors import Cancelled
from contracts.model import ModelRef, Precision
from services.kit.arrays import facts_of
from services.kit.blobs import Blobs
from services.kit.db import Database
from services.kit.keys import sha256_of
from services.kit.pictures import Entry, Place, write_manifest
from services.kit.settings import Settings
from services.kit.stages import Work
from services.model.adapters.registry import adapter_for, build
from services.model.capture.catalogue import catalogue
from services.model.capture.hooks import captured
from services.model.capture.samples import sample_batch
from services.model.service import Models
from services.model.stages import collect_activations

ARCHITECTURE = "timm:resnet18"
LAYERS = ("layer1", "layer3.1.bn2", "fc")
N = 7


def store_dataset(blobs):
    draw = np.random.default_rng(0)
    entries, packed = [], b""
    for index in range(N):
        out = io.BytesIO()
        Image.fromarray(draw.integers(0, 256, (40 + index, 50, 3), dtype=np.uint8)).save(out, "PNG")
        data = out.getvalue()
        entries.append((index, data, len(packed)))
        packed += data
    pack = blobs.put(packed)
    path = blobs.temporary("manifest")
    write_manifest(
        path,
        [
            Entry(
                Sample(index=i, name=f"{i}.png", sha256=hashlib.sha256(data).hexdigest(), width=50, height=40 + i),
                Place(pack, offset, len(data)),
                Place(pack, offset, len(data)),
            )
            for i, data, offset in entries
        ],
    )
    return blobs.keep(path)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    blobs = Blobs(home / "blobs")
    torch.manual_seed(0)
    built = build(ARCHITECTURE, {"num_classes": 10})
    how = built.preprocessing.model_copy(update={"resize": 64, "crop": 64})
    path = blobs.temporary("weights")
    save_file(built.model.state_dict(), path)
    ref = ModelRef(
        id="m_0", name="m", architecture=ARCHITECTURE, config={"num_classes": 10}, weights_sha256=blobs.keep(path),
        preprocessing=how, preprocess_sha256=sha256_of(how), model_sha256=sha256_of("m"),
    )  # fmt: skip
    found = catalogue(built.model, sample_batch(how), pick=adapter_for(ARCHITECTURE)[0].pick)
    models = Models(Database(f"sqlite:///{home}/x.sqlite"), blobs, Settings(home=home))
    yield models, ref, [layer for layer in found if layer.name in LAYERS], store_dataset(blobs)
    models.database.close()


def collect(stored, *, batch=4, start=0, stop=N, missing=LAYERS, tick=lambda units: None, precision="fp32"):
    models, ref, layers, manifest = stored
    spec = {
        "model": ref.model_dump(mode="json"), "layers": [layer.model_dump(mode="json") for layer in layers],
        "start": start, "stop": stop, "batch": batch, "precision": precision,
    }  # fmt: skip
    work = Work("w", spec, {"manifest": manifest}, frozenset(missing), models.blobs, tick)
    collect_activations(work, models)
    return work


def arrays(stored, work, layer):
    from services.kit.arrays import load_arrays

    return load_arrays(stored[0].blobs.open(work.emitted[layer]))


def test_values_are_those_of_the_bare_model(stored):
    models, ref, _, manifest = stored
    from services.kit.pictures import Manifest
    from services.model.preprocess import to_batch

    work = collect(stored)
    pictures = Manifest.load(models.blobs.open(manifest), models.blobs).pictures(0, N)
    with models.loaded(ref) as built, torch.inference_mode():
        kept = []
        handle = built.model.layer1.register_forward_hook(lambda module, given, out: kept.append(out))
        scores = built.model(to_batch(pictures, ref.preprocessing))
        handle.remove()
    found = arrays(stored, work, "layer1")
    np.testing.assert_allclose(found["values"], kept[0].amax((2, 3)).numpy(), atol=1e-5)
    at = np.take_along_axis(kept[0].flatten(2).numpy(), found["positions"][..., None].astype(int), 2)[..., 0]
    np.testing.assert_allclose(at, found["values"], atol=1e-5)
    np.testing.assert_allclose(arrays(stored, work, "fc")["values"], scores.numpy(), atol=1e-5)
    assert "positions" not in arrays(stored, work, "fc")


def test_only_missing_layers_are_captured(stored):
    work = collect(stored, missing=("fc",))
    assert set(work.emitted) == {"fc"}


def test_equal_runs_give_equal_bytes(stored):
    assert collect(stored).emitted == collect(stored).emitted


def test_the_batch_size_changes_neither_order_nor_values(stored):
    one, many = collect(stored, batch=1), collect(stored, batch=5)
    for layer in LAYERS:
        mine, theirs = arrays(stored, one, layer)["values"], arrays(stored, many, layer)["values"]
        np.testing.assert_allclose(mine, theirs, atol=1e-5, rtol=1e-5)
        assert (np.argmax(mine, axis=0) == np.argmax(theirs, axis=0)).all()


def test_shards_are_slices_of_the_whole(stored):
    whole = arrays(stored, collect(stored), "layer1")["values"]
    work = collect(stored, start=3, stop=6)
    np.testing.assert_allclose(arrays(stored, work, "layer1")["values"], whole[3:6], atol=1e-5)
    facts = facts_of(stored[0].blobs.open(work.emitted["layer1"]))
    assert (facts["start"], facts["stop"], facts["layer"]) == (3, 6, "layer1")


def test_bfloat16_stays_near_float32(stored):
    exact, rough = collect(stored), collect(stored, precision="bf16")
    mine, theirs = arrays(stored, exact, "layer1")["values"], arrays(stored, rough, "layer1")["values"]
    assert theirs.dtype == np.float32
    assert np.abs(mine - theirs).max() < 0.05 * np.abs(mine).max()


def test_a_cancelled_part_puts_nothing_out_and_leaves_no_hooks(stored):
    def stop(units):
        raise Cancelled("stopped")

    models, ref, _, _ = stored
    with pytest.raises(Cancelled):
        collect(stored, tick=stop)
    with models.loaded(ref, Precision.FP32) as built:
        assert not any(module._forward_hooks for module in built.model.modules())


def test_a_module_called_twice_is_refused():
    from contracts.model import Layer, LayerKind
    from services.model.errors import CalledAgain

    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.act = torch.nn.Identity()

        def forward(self, given):
            return self.act(self.act(given))

    model = Twice()
    layer = Layer(name="act", kind=LayerKind.VECTOR, module="Identity", width=4, signed=True, pooling="identity")
    with captured(model, [layer]), pytest.raises(CalledAgain, match="act runs more than once"):
        model(torch.zeros(2, 4))
