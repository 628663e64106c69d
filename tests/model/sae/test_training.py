"""Training of sparse autoencoders: exact gradients, planted directions, dead latents, and resuming."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from contracts.errors import NonFiniteActivation
from contracts.sae import CheckpointMismatch, TooFewRows, TooManyActive
from contracts.steering import WidthMismatch
from services.model.sae.checkpoints import load_checkpoint, run, save_checkpoint
from services.model.sae.metrics import measure
from services.model.sae.sparse_step import gradients, top_of_batch, top_of_rows
from services.model.sae.stream import Position, Stream, shards_of
from services.model.sae.training import Recipe, Scaling, Trainer, begin


def planted(n=6000, width=24, concepts=36, seed=0):
    """Rows that are sums of two to four of `concepts` fixed directions, far from the origin and badly scaled."""
    draw = np.random.default_rng(seed)
    true = draw.normal(size=(concepts, width))
    true /= np.linalg.norm(true, axis=1, keepdims=True)
    codes = (1 + draw.random((n, concepts))) * (draw.random((n, concepts)) < 0.08)
    return (50 + 20 * codes @ true).astype(np.float32), true


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def loss_by_autograd(x, parameters, k, dead, strongest, share, batchwise):
    """The same loss, written the plain way."""
    z = (x - parameters["decoder_bias"]) @ parameters["encoder"].T + parameters["encoder_bias"]
    flat = z.flatten() if batchwise else z
    values, places = torch.topk(flat, k * len(x) if batchwise else k, dim=-1)
    codes = torch.zeros_like(flat).scatter(-1, places, values.relu()).reshape(z.shape)
    made = codes @ parameters["decoder"] + parameters["decoder_bias"]
    main = (x - made).pow(2).sum() / (x - x.mean(0)).pow(2).sum()
    error = (x - made).detach()
    best, where = torch.topk(z[:, dead], strongest, dim=1)
    extra = torch.zeros_like(z[:, dead]).scatter(1, where, best.relu()) @ parameters["decoder"][dead]
    auxiliary = (error - extra).pow(2).sum() / (error - error.mean(0)).pow(2).sum()
    return main + share * auxiliary, main, auxiliary


@pytest.mark.parametrize("batchwise", [False, True])
def test_the_hand_written_gradients_equal_those_of_automatic_differentiation(batchwise):
    torch.manual_seed(0)
    x = torch.randn(16, 6, dtype=torch.float64)
    parameters = {
        "encoder": torch.randn(20, 6), "decoder": torch.randn(20, 6), "encoder_bias": 0.1 * torch.randn(20),
        "decoder_bias": 0.1 * torch.randn(6),
    }  # fmt: skip
    parameters = {name: value.double().requires_grad_() for name, value in parameters.items()}
    dead = torch.tensor([1, 4, 7, 19])
    total, main, auxiliary = loss_by_autograd(x, parameters, 4, dead, 3, 1 / 32, batchwise)
    expected = dict(
        zip(parameters, torch.autograd.grad(total, list(parameters.values()), retain_graph=True), strict=True)
    )
    parameters = {name: value.detach() for name, value in parameters.items()}
    with torch.no_grad():
        z = (x - parameters["decoder_bias"]) @ parameters["encoder"].T + parameters["encoder_bias"]
        active = top_of_batch(z, 4, guess=0.01) if batchwise else top_of_rows(z, 4)
        found = gradients(x, z, active, parameters, dead=dead, strongest=3)
    assert found.loss == pytest.approx(main.item())
    assert found.auxiliary == pytest.approx(auxiliary.item())
    for name, value in expected.items():
        assert getattr(found, name).numpy() == pytest.approx(value.numpy(), abs=1e-12), name


def test_the_residual_is_reconstructed_without_the_bias_and_measured_against_its_own_variance():
    x = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    parameters = {
        "encoder": torch.eye(2), "decoder": torch.eye(2), "encoder_bias": torch.zeros(2),
        "decoder_bias": torch.tensor([1.0, 0.0]),
    }  # fmt: skip
    z = (x - parameters["decoder_bias"]) @ torch.eye(2)
    found = gradients(x, z, top_of_rows(z, 1), parameters, dead=torch.tensor([1]), strongest=1)
    # x̂ = [3,0], [1,1]: residual [0,0], [-1,0]; the dead latent 1 gives [0,0], [0,1]
    assert found.residual.tolist() == [[0, 0], [-1, 0]]
    assert found.loss == pytest.approx(1 / 5)
    assert found.auxiliary == pytest.approx((1 + 1) / 0.5)


def test_a_wrong_guess_of_the_batch_threshold_changes_nothing():
    z = torch.randn(8, 30)
    fair, late = top_of_batch(z, 3), top_of_batch(z, 3, guess=100.0)
    assert fair.latents.tolist() == late.latents.tolist()
    assert fair.values.tolist() == late.values.tolist()
    assert len(fair.values) == 24
    assert fair.values.min() >= np.sort(z.numpy().ravel())[-24]


@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
def test_planted_directions_are_found_and_explain_held_out_rows(kind):
    x, true = planted()
    stream = Stream(shards_of(x[:5000], rows=2048), batch=250, seed=1)
    trainer = begin(stream, Recipe(latents=64, k=4, kind=kind, steps=700, batch=250, learning_rate=5e-3))
    losses = run(trainer, stream)
    sae = trainer.finished()
    figures = measure(sae, torch.from_numpy(x[5000:]))
    assert losses[-1] < 0.1 < losses[0]
    assert figures.explained > 0.85
    assert figures.active <= 4.5
    assert sae.architecture == ("topk" if kind == "topk" else "jumprelu")
    assert sae.decoder.norm(dim=1).numpy() == pytest.approx(np.ones(64), abs=1e-5)
    cosines = np.abs(sae.decoder.numpy() @ true.T).max(axis=0)
    assert np.median(cosines) > 0.95


def test_latents_that_died_are_brought_back_only_with_a_threshold_that_fits_the_run():
    x, _ = planted()
    shares = {}
    for dead_rows in (2000, 10_000_000):
        stream = Stream(shards_of(x[:5000]), batch=250, seed=1)
        recipe = Recipe(latents=64, k=4, steps=200, batch=250, dead_rows=dead_rows, revive_every=25, learning_rate=5e-3)
        trainer = begin(stream, recipe)
        trainer.parameters["encoder_bias"][:32] = -100  # no row reaches them, and no gradient does
        run(trainer, stream)
        shares[dead_rows] = measure(trainer.finished(), torch.from_numpy(x[5000:])).dead_share
        assert bool(recipe.warnings) == (dead_rows > 1_000_000)
    assert shares[10_000_000] >= 0.5
    assert shares[2000] < 0.1


def test_the_dead_threshold_fits_small_runs_by_itself():
    assert Recipe(latents=4096, steps=5000).dead_after == 200_000
    assert Recipe(latents=64, steps=100, batch=100).dead_after == 500


@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
def test_a_training_resumed_from_a_checkpoint_is_bit_equal_to_one_that_was_never_stopped(tmp_path, kind):
    x, _ = planted(n=2000)
    recipe = Recipe(latents=48, k=4, kind=kind, steps=60, batch=100, dead_rows=500, revive_every=20)

    def fresh():
        return Stream(shards_of(x, rows=700), batch=100, seed=3)

    whole = fresh()
    never = begin(whole, recipe)
    run(never, whole)
    first = fresh()
    begun = begin(first, recipe)
    run(begun, first, until=33)
    save_checkpoint(tmp_path / "at.safetensors", begun, first)
    second = fresh()
    resumed = load_checkpoint(tmp_path / "at.safetensors", recipe, second)
    assert resumed.step == 33
    run(resumed, second)
    for name, value in never.finished().tensors().items():
        assert torch.equal(value, resumed.finished().tensors()[name]), name
    assert second.position == whole.position
    with pytest.raises(CheckpointMismatch) as refusal:
        load_checkpoint(tmp_path / "at.safetensors", replace(recipe, k=5), fresh())
    assert refusal.value.field == "k"
    with pytest.raises(CheckpointMismatch):
        load_checkpoint(tmp_path / "at.safetensors", recipe, Stream(shards_of(x, rows=600), batch=100, seed=3))


def test_a_stream_shows_every_row_once_an_epoch_in_an_order_of_its_seed():
    x = np.arange(60, dtype=np.float32)[:, None]
    stream = Stream(shards_of(x, rows=20), batch=5, seed=2)
    assert stream.steps_per_epoch == 12
    epochs = [np.concatenate([stream.next().numpy()[:, 0] for _ in range(12)]) for _ in range(2)]
    assert all(sorted(epoch) == list(range(60)) for epoch in epochs)
    assert (epochs[0] != epochs[1]).any()
    again = Stream(shards_of(x, rows=20), batch=5, seed=2, at=Position(epoch=1))
    assert again.next().numpy()[:, 0].tolist() == epochs[1][:5].tolist()


def test_what_cannot_be_trained_on_is_refused():
    with pytest.raises(TooFewRows):
        Stream(shards_of(np.zeros((9, 2), np.float32)), batch=10)
    bad = np.ones((20, 2), np.float32)
    bad[7] = np.nan
    with pytest.raises(NonFiniteActivation) as refusal:
        Stream(shards_of(bad), batch=10).next()
    assert refusal.value.facts["window"] == 7
    with pytest.raises(TooManyActive):
        Trainer(4, Recipe(latents=8, k=9), Scaling(torch.zeros(4), 1.0))
    with pytest.raises(WidthMismatch):
        Trainer(4, Recipe(latents=8, k=2), Scaling(torch.zeros(4), 1.0)).finished().encode(torch.zeros(2, 5))
