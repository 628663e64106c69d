"""Sparse autoencoders end to end: the command line, the job, the stored codes, the exported folder."""

import io
import zipfile
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from contracts.errors import UnknownLayer, UnknownSnapshot
from contracts.sae import SaeRequest, TooFewRows, TooManyActive, UnknownLatent, UnknownSae
from orchestration.bootstrap import Wiring, build
from services.kit.settings import Settings
from services.model.sae.saelens import import_saelens


@pytest.fixture(scope="module")
def wiring(explained) -> Iterator[Wiring]:
    """The services on the same folder, without a process for each question."""
    found = build(Settings(home=explained.home, threads=2))
    yield found
    found.close()


@pytest.fixture
def asked(wiring):
    return wiring.governance.operator(), wiring.atlas


@pytest.fixture(scope="module")
def trained(explained) -> dict:
    """A small autoencoder on the features before the classifier."""
    return explained.json(
        "sae", "train", "--snapshot", "small", "--layer", "conv_head", "--name", "parts", "--latents", "96", "--k", "8",
        "--steps", "600", "--batch", "16", "--learning-rate", "0.003",
    )  # fmt: skip


def test_a_trained_autoencoder_has_honest_figures_on_groups_that_it_did_not_see(asked, trained):
    quality = trained["quality"]
    assert (trained["width"], trained["latents"], trained["architecture"]) == (1280, 96, "topk")
    assert quality["held_out"] + quality["trained_on"] == 110
    assert 15 <= quality["held_out"] <= 45
    assert quality["explained_training"] > 0.6
    assert quality["explained"] < quality["explained_training"]
    assert 1 <= quality["active"] <= 8
    assert sum(quality["histogram"]) == 96
    me, atlas = asked
    assert atlas.sae(me, "parts").model_dump(mode="json") == trained
    assert trained["id"] in [one.id for one in atlas.saes(me).items]


def test_a_latent_shows_the_samples_on_which_it_fires(asked, trained):
    me, atlas = asked
    states = {"ok": 0, "dead": 0, "insufficient_evidence": 0}
    for index in range(96):
        one = atlas.sae_latent(me, "parts", index)
        states[one.state] += 1
        values = [example.value for example in one.examples]
        assert values == sorted(values, reverse=True)
        assert all(value > 0 for value in values)
        assert len(values) == min(20, round(one.density * 110))
    assert states["ok"] > 5
    with pytest.raises(UnknownLatent):
        atlas.sae_latent(me, "parts", 96)
    with pytest.raises(UnknownSae):
        atlas.sae(me.model_copy(update={"workspace": "theirs"}), "parts")


def test_the_exported_folder_is_read_back_as_the_same_autoencoder(asked, trained, tmp_path):
    me, atlas = asked
    with zipfile.ZipFile(io.BytesIO(atlas.export_sae(me, "parts").body)) as archive:
        archive.extractall(tmp_path / "parts")
    sae, config = import_saelens(tmp_path / "parts")
    assert config["metadata"]["hook_name"] == "conv_head"
    assert (sae.width, sae.latents, sae.k) == (1280, 96, 8)
    assert sae.decoder.norm(dim=1).numpy() == pytest.approx(np.ones(96), abs=1e-5)
    codes = sae.encode(torch.zeros(2, 1280))
    assert (codes > 0).sum(dim=1).max() <= 8


def test_the_same_request_again_trains_nothing_and_another_seed_makes_another(explained, trained):
    again = explained.json(
        "sae", "train", "--snapshot", "small", "--layer", "conv_head", "--name", "parts", "--latents", "96", "--k", "8",
        "--steps", "600", "--batch", "16", "--learning-rate", "0.003",
    )  # fmt: skip
    assert again == trained
    job = explained.json("job", "list")["items"][0]
    assert job["kind"] == "sae"
    assert [stage["name"] for stage in job["stages"]] == ["train-sae", "train-sae", "measure-sae", "publish-sae"]
    assert [stage["parts_reused"] for stage in job["stages"]] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"snapshot": "nothing"}, UnknownSnapshot),
        ({"layer": "nowhere"}, UnknownLayer),
        ({"latents": 8, "k": 9}, TooManyActive),
        ({"batch": 64}, TooFewRows),
    ],
)
def test_what_cannot_be_trained_is_refused_before_any_work(wiring, trained, change, refusal):
    me = wiring.governance.operator()
    jobs = len(wiring.jobs.jobs(me).items)
    with pytest.raises(refusal):
        wiring.jobs.train_sae(me, SaeRequest.model_validate({"snapshot": "small", "layer": "conv_head", **change}))
    assert len(wiring.jobs.jobs(me).items) == jobs
