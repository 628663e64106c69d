"""`xsys train` on a real installation: a killed training ends with the bytes of an undisturbed one."""

import os
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from tests.conftest import Installation
from tests.e2e.test_kill import worker_of

TRAIN = (
    "train", "run", "tuned", "--model", "tiny", "--dataset", "colours", "--epochs", "6", "--batch", "16", "--lr", "0.2",
)  # fmt: skip
SPEEDY = {"XSYS_HEARTBEAT": "PT0.3S", "XSYS_LEASE": "PT1S", "XSYS_REAPER_PERIOD": "PT0.5S", "XSYS_ATTEMPTS": "6"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A tiny random network and sixty pictures of two colours, registered."""
    from services.kit.torchvision_ops import mend_torchvision

    mend_torchvision()
    import timm
    import torch

    folder, draw = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for label, colour in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
        (folder / label).mkdir()
        for index in range(30):
            pixels = np.clip(draw.normal(colour, 40, (48, 48, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{index}.png")
    torch.manual_seed(0)
    weights = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), weights)
    home = Installation(tmp_path_factory.mktemp("trained") / "home")
    home.run("dataset", "add", str(folder), "--name", "colours")
    home.run("model", "add", "tiny", "--architecture", "timm:test_resnet", "--weights", str(weights))
    return home


def checkpoints(home):
    with sqlite3.connect(home.home / "xsys.sqlite") as db:
        return dict(db.execute("SELECT key, blob FROM artifact WHERE kind LIKE 'train-epoch%'"))


@pytest.mark.slow
def test_a_training_killed_in_the_middle_ends_with_the_same_bytes(prepared, tmp_path):
    import shutil

    disturbed = Installation(tmp_path / "home")
    shutil.copytree(prepared.home, disturbed.home)
    told = prepared.json(*TRAIN)
    assert told["model"]["config"]["num_classes"] == 2
    assert [epoch["epoch"] for epoch in told["curve"]["epochs"]] == [0, 1, 2, 3, 4, 5]
    assert told["curve"]["epochs"][-1]["validation_accuracy"] > 0.8

    process = subprocess.Popen(
        [sys.executable, "-m", "orchestration.cli", *TRAIN],
        env=disturbed.environment | SPEEDY, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    killed, limit = 0, time.monotonic() + 120
    while process.poll() is None and time.monotonic() < limit:
        worker = worker_of(process)
        if killed < 2 and worker is not None and len(checkpoints(disturbed)) > killed:  # within a later epoch
            os.kill(worker.pid, signal.SIGKILL)
            killed += 1
            time.sleep(1)
        time.sleep(0.05)
    assert process.wait(timeout=60) == 0, process.stderr.read()[-2000:]
    assert killed == 2
    assert checkpoints(disturbed) == checkpoints(prepared)
    assert disturbed.json("model", "show", "tuned")["ref"] == told["model"]
    again = disturbed.json(*TRAIN)  # nothing to do a second time
    assert again["model"] == told["model"]


PRUNE = ("prune", "run", "--model", "tuned", "--dataset", "colours", "--amounts", "0.1,0.4")


def test_a_trained_model_is_cut_within_the_loss_and_stays_a_model_like_others(prepared):
    tuned = prepared.json(*TRAIN)["model"]
    told = prepared.json(*PRUNE, "cut", "--loss", "0.5")
    before, chosen = told["pruning"]["before"], told["pruning"]["chosen"]
    assert chosen["amount"] == 0.4 and chosen["parameters"] < before["parameters"] and chosen["macs"] < before["macs"]
    assert chosen["accuracy"] >= before["accuracy"] - 0.5 and before["accuracy"] > 0.8
    assert [curve["criterion"] for curve in told["pruning"]["curves"]] == ["relevance", "magnitude", "random"]
    small = prepared.json("model", "show", "cut")
    assert small["parameters"] == chosen["parameters"] and small["ref"]["config"]["widths"]
    assert small["ref"]["model_sha256"] != tuned["model_sha256"]
    cost = prepared.json("model", "cost", "cut", "--against", "tuned")
    assert cost["model"]["parameters"] == chosen["parameters"] and cost["model"]["macs"] == chosen["macs"]
    assert cost["model"]["weights_bytes"] < cost["against"]["weights_bytes"]
    assert cost["speed_up"] == cost["against"]["latency_ms"] / cost["model"]["latency_ms"] > 0
    assert "x as fast" in prepared.run("model", "cost", "cut", "--against", "tuned").stdout
    further = prepared.json(*PRUNE, "cut more", "--model", "cut", "--amount", "0.4", "--epochs", "1", "--lr", "0.05")
    assert further["pruning"]["before"]["accuracy"] == chosen["accuracy"], "the rebuilt model is the cut one"
    assert prepared.json("model", "show", "cut more")["parameters"] < small["parameters"]
    assert len(further["curve"]["epochs"]) == 1
    assert "taken" in prepared.run("prune", "show", prepared.json("job", "list")["items"][0]["id"]).stdout


def test_a_cut_that_cannot_be_had_is_refused_by_name(prepared):
    prepared.json(*TRAIN)
    for amount, reason in ("0.97", "the best, 0.97, has 0."), ("0.999", "channels would empty one of"):
        done = prepared.run(*PRUNE, "none", "--criterion", "random", "--amounts", amount, "--loss", "0", check=False)
        assert done.returncode == 1 and reason in done.stderr
    done = prepared.run(*PRUNE, "no", "--model", "tiny", check=False)
    assert done.returncode == 1 and "they have to be the same" in done.stderr
    done = prepared.run(*PRUNE, "none", "--keep", "layer9", check=False)
    assert done.returncode == 1 and "no module layer9" in done.stderr


SPIKING = ("train", "run", "spikes", "--model", "blank", "--dataset", "colours", "--reward", "rate_coded", "--lr", "3")


def test_a_spiking_net_drawn_from_a_seed_is_trained_without_gradients(prepared):
    config = '{"side": 16, "hidden": [30], "steps": 8}'
    drawn = ("model", "add", "blank", "--architecture", "spiking:mlp", "--initial-seed", "1", "--config")
    blank = prepared.json(*drawn, config)
    assert blank["ref"]["config"]["steps"] == 8
    told = prepared.json(*SPIKING, "--batch", "16")
    assert told["model"]["config"] == {"side": 16, "hidden": [30], "steps": 8, "num_classes": 2}
    assert told["curve"]["epochs"][-1]["validation_accuracy"] > 0.9
    assert 0 <= told["curve"]["epochs"][-1]["near_zero"] < 0.5
    words = ("prune", "run", "fewer spikes", "--model", "spikes", "--dataset", "colours", "--amount", "0.4")
    fewer = prepared.json(*words)["pruning"]
    assert fewer["chosen"]["parameters"] < fewer["before"]["parameters"]
    assert prepared.json("model", "show", "fewer spikes")["parameters"] == fewer["chosen"]["parameters"]
    done = prepared.run(*SPIKING[:2], "no", *SPIKING[3:], "--model", "tiny", check=False)
    assert done.returncode == 1 and "rate_coded counts spikes, and tiny has none" in done.stderr
    done = prepared.run(*drawn, "[1]", check=False)
    assert done.returncode == 1 and "--config is no JSON object" in done.stderr


def test_a_dataset_without_labels_is_refused_before_any_work(prepared, tmp_path):
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    prepared.run("dataset", "add", str(tmp_path), "--name", "plain")
    done = prepared.run("train", "run", "no", "--model", "tiny", "--dataset", "plain", check=False)
    assert done.returncode == 1 and "LabelsMissingError (dataset): plain has 0 labels" in done.stderr
    done = prepared.run("train", "run", "tiny", "--model", "tiny", "--dataset", "colours", check=False)
    assert done.returncode == 1 and "needs a name of its own" in done.stderr
    words = ("train", "run", "no", "--model", "tiny", "--dataset", "colours", "--method", "gradient")
    done = prepared.run(*words, "--reward", "correct", check=False)
    assert done.returncode == 1 and "the reward correct is for method lfp" in done.stderr
