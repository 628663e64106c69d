"""An autoencoder that was trained elsewhere is taken in from a SAELens folder, and measured like any other."""

import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from contracts.base import Right
from contracts.errors import InvalidRequest, PathNotAllowed
from contracts.jobs import State
from contracts.sae import SaeRequest, UnsupportedSae
from contracts.steering import WidthMismatch
from orchestration.jobs.repository import next_queued
from tests.language_world import LAYER, LanguageWorld


@pytest.fixture(scope="module")
def world(tiny_languages, tmp_path_factory):
    folder = tmp_path_factory.mktemp("imports")
    shutil.copytree(tiny_languages.folder / "home", folder / "home")  # what is imported is not for the other tests
    return LanguageWorld(folder)


@pytest.fixture
def folder(world, tmp_path) -> Path:
    """The trained autoencoder, as it is exported."""
    body = world.wiring.atlas.export_sae(world.me, "latents").body
    zipfile.ZipFile(io.BytesIO(body)).extractall(tmp_path / "taken")
    return tmp_path / "taken"


def asked(folder: Path, **more) -> SaeRequest:
    told = {"capture": "of first", "layer": LAYER, "folder": str(folder), "name": "taken in"}
    return SaeRequest.model_validate(told | more)


def test_what_was_exported_comes_back_with_the_same_figures_and_codes(world, folder):
    job = world.wiring.jobs.train_sae(world.me, asked(folder))
    assert [stage.name for stage in job.stages] == ["import-sae", "measure-text-sae", "read-latents", "publish-sae"]
    world.run(job)
    before, after = (world.wiring.atlas.sae(world.me, name) for name in ("latents", "taken in"))
    assert (after.latents, after.request.latents, after.request.k) == (64, 64, 4)
    assert after.request.folder == str(folder)
    assert after.warnings == [] and after.quality.trained_on == 0
    kept = {"trained_on"}
    assert after.quality.model_dump(exclude=kept) == before.quality.model_dump(exclude=kept)
    for latent in range(0, 64, 8):
        one, other = (world.wiring.atlas.sae_latent(world.me, name, latent) for name in ("latents", "taken in"))
        assert one.model_dump(exclude={"sae"}) == other.model_dump(exclude={"sae"})


def test_the_same_content_in_another_place_is_not_read_again(world, folder, tmp_path):
    world.run(world.wiring.jobs.train_sae(world.me, asked(folder)))
    shutil.copytree(folder, tmp_path / "elsewhere")
    job = world.wiring.jobs.train_sae(world.me, asked(tmp_path / "elsewhere"))
    world.run(job)
    assert sum(stage.parts_reused for stage in world.wiring.jobs.job(world.me, job.id).stages) >= 3


def test_what_does_not_fit_is_refused_before_any_work(world, folder, tmp_path):
    train = world.wiring.jobs.train_sae
    with pytest.raises(InvalidRequest, match="leave out steps"):
        train(world.me, asked(folder, steps=500))
    with pytest.raises(UnsupportedSae, match="lacks cfg"):
        train(world.me, asked(tmp_path / "nowhere"))
    stranger = world.me.model_copy(update={"rights": world.me.rights - {Right.SERVER_PATHS}})
    with pytest.raises(PathNotAllowed):
        train(stranger, asked(folder))
    with pytest.raises(PathNotAllowed):  # nor is told what exists
        train(stranger, asked(tmp_path / "nowhere"))
    config = json.loads((folder / "cfg.json").read_text())
    for change, error, about in (
        ({"d_in": 33}, WidthMismatch, "reads 33 columns"),
        ({"architecture": "gated"}, UnsupportedSae, "gated"),
        ({"d_sae": 1}, UnsupportedSae, "d_sae"),
        ({"normalize_activations": "layer_norm"}, UnsupportedSae, "normalize"),
    ):
        (folder / "cfg.json").write_text(json.dumps(config | change))
        with pytest.raises(error, match=about):
            train(world.me, asked(folder))


def test_a_folder_that_changes_before_it_is_read_fails_the_job(world, folder):
    weights = folder / "sae_weights.safetensors"
    job = world.wiring.jobs.train_sae(world.me, asked(folder, name="changed", seed=7))
    weights.write_bytes(weights.read_bytes()[:-4] + np.float32(1).tobytes())
    with world.wiring.database.reading() as db:
        part = next_queued(db)
    world.runner.run(part)
    ended = world.wiring.jobs.job(world.me, job.id)
    assert ended.state == State.FAILED
    assert "not what it was" in ended.failures[0].detail
