"""Figures of an autoencoder on constructed rows, and the SAELens folder in both directions."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from contracts.errors import InsufficientEvidence
from contracts.sae import TooManyActive, UnsupportedSae
from services.model.sae.autoencoder import SparseAutoencoder
from services.model.sae.metrics import loss_recovered, measure
from services.model.sae.saelens import export_saelens, import_saelens


def identity(architecture="topk", **more):
    return SparseAutoencoder(architecture, torch.eye(3), torch.eye(3), torch.zeros(3), torch.zeros(3), **more)


def test_explained_variance_is_one_minus_the_share_left_and_no_square_is_taken_twice():
    x = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0], [4.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    figures = measure(identity(k=1), x)
    left = 1 + 1 + 0 + 1
    assert figures.explained == pytest.approx(1 - left / float((x - x.mean(0)).pow(2).sum()))
    assert figures.active == 1
    assert figures.dead_share == pytest.approx(1 / 3)
    assert figures.density.sum() == pytest.approx(1)
    assert figures.density[2] == 0
    assert sum(figures.histogram) == 3
    assert figures.histogram[0] == 1
    assert measure(identity(k=3), x).explained == pytest.approx(1)


def test_architectures_keep_what_they_say():
    x = torch.tensor([[3.0, 1.0, -2.0]])
    assert identity(k=2).encode(x).tolist() == [[3, 1, 0]]
    assert identity(k=3).encode(x).tolist() == [[3, 1, 0]]
    assert identity("jumprelu", threshold=torch.tensor([1.0, 1.0, 1.0])).encode(x).tolist() == [[3, 0, 0]]
    assert identity("standard").encode(x).tolist() == [[3, 1, 0]]
    with pytest.raises(TooManyActive):
        identity(k=4)


def test_rows_without_variance_have_no_figure_and_recovery_needs_a_layer_that_matters():
    for rows in (torch.ones(5, 3), torch.ones(1, 3)):
        with pytest.raises(InsufficientEvidence):
            measure(identity(k=1), rows)
    assert loss_recovered(2.0, 2.5, 7.0) == pytest.approx(0.9)
    with pytest.raises(InsufficientEvidence):
        loss_recovered(2.0, 2.5, 2.0)


@pytest.mark.parametrize("architecture", ["topk", "jumprelu", "standard"])
def test_a_folder_that_was_exported_reads_back_the_same(tmp_path, architecture):
    torch.manual_seed(3)
    sae = SparseAutoencoder(
        architecture, torch.randn(12, 5), torch.randn(12, 5), torch.randn(12), torch.randn(5),
        3 if architecture == "topk" else None, torch.rand(12) if architecture == "jumprelu" else None,
    )  # fmt: skip
    export_saelens(tmp_path, sae, model="lite0", layer="blocks.3", facts={"dataset": "pets"})
    config, weights = json.loads((tmp_path / "cfg.json").read_text()), load_file(tmp_path / "sae_weights.safetensors")
    assert (config["d_in"], config["d_sae"], config["architecture"]) == (5, 12, architecture)
    assert (config["normalize_activations"], config["apply_b_dec_to_input"]) == ("none", True)
    assert config["metadata"] == {"model_name": "lite0", "hook_name": "blocks.3", "dataset": "pets"}
    assert {name: tuple(value.shape) for name, value in weights.items() if name != "threshold"} == {
        "W_enc": (5, 12), "W_dec": (12, 5), "b_enc": (12,), "b_dec": (5,)
    }  # fmt: skip
    again, _ = import_saelens(tmp_path)
    x = torch.randn(40, 5)
    assert torch.equal(again.encode(x), sae.encode(x))
    assert torch.equal(again.reconstruct(x), sae.reconstruct(x))


def written(folder, config, **weights):
    folder.mkdir(exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps({"d_in": 2, "d_sae": 3, **config}))
    zeros = {"W_enc": torch.zeros(2, 3), "W_dec": torch.zeros(3, 2), "b_enc": torch.zeros(3), "b_dec": torch.zeros(2)}
    save_file({**zeros, **weights}, folder / "sae_weights.safetensors")
    return folder


def test_the_older_flat_form_names_topk_as_an_activation_function(tmp_path):
    config = {"architecture": "standard", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 2}}
    sae, _ = import_saelens(written(tmp_path, config, W_enc=torch.tensor([[1.0, 0, 2], [0, 1.0, 0]])))
    assert (sae.architecture, sae.k) == ("topk", 2)
    assert sae.encode(torch.tensor([[1.0, 3.0]])).tolist() == [[0, 3, 2]]


def test_a_decoder_that_was_not_normalised_is_folded_so_that_the_choice_of_latents_is_kept(tmp_path):
    torch.manual_seed(0)
    encoder, decoder = torch.randn(2, 3), torch.tensor([[9.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    bias = torch.tensor([0.1, 0.2, 0.3])
    config = {"architecture": "topk", "k": 1, "rescale_acts_by_decoder_norm": True}
    sae, _ = import_saelens(written(tmp_path, config, W_enc=encoder, W_dec=decoder, b_enc=bias))
    x = torch.randn(50, 2)
    z = (x @ encoder + bias) * decoder.norm(dim=1)  # as its own encode does
    best = z.argmax(dim=1)
    kept = z.relu()[torch.arange(50), best]
    made = (kept / decoder.norm(dim=1)[best])[:, None] * decoder[best]
    assert sae.reconstruct(x).numpy() == pytest.approx(made.numpy(), abs=1e-5)
    assert np.array_equal(sae.encode(x).argmax(dim=1)[kept > 0], best[kept > 0])


@pytest.mark.parametrize(
    ("config", "weights"),
    [
        ({"architecture": "gated"}, {}),
        ({"architecture": "topk"}, {}),
        ({"architecture": "jumprelu"}, {}),
        ({"architecture": "standard", "normalize_activations": "layer_norm"}, {}),
        ({"architecture": "standard", "reshape_activations": "hook_z"}, {}),
        ({"architecture": "standard", "d_in": 7}, {}),
        ({"architecture": "standard"}, {"W_dec": torch.zeros(3, 4)}),
    ],
)
def test_a_folder_that_we_would_misread_is_refused(tmp_path, config, weights):
    with pytest.raises(UnsupportedSae):
        import_saelens(written(tmp_path, config, **weights))


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(UnsupportedSae) as refusal:
        import_saelens(tmp_path)
    assert refusal.value.field == "cfg.json"
    folder = written(tmp_path, {"architecture": "standard"})
    (folder / "sae_weights.safetensors").write_bytes(b"no")
    with pytest.raises(UnsupportedSae) as refusal:
        import_saelens(folder)
    assert refusal.value.field == "sae_weights.safetensors"
