"""The command line on a real, small snapshot: what a user types and what comes back."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from services.kit.blobs import Blobs
from tests.conftest import Installation


@pytest.fixture(scope="module")
def snapshot(explained):
    return explained.json("snapshot", "list")["items"][0]


def test_the_snapshot_says_what_it_was_computed_from(snapshot):
    assert snapshot["name"] == "small"
    assert snapshot["model"]["architecture"] == "timm:tf_efficientnet_lite0"
    assert snapshot["dataset"]["n"] == 110
    assert [layer["name"] for layer in snapshot["layers"]] == ["blocks.5", "conv_head", "classifier"]
    assert [layer["width"] for layer in snapshot["layers"]] == [192, 1280, 1000]
    assert all(recall >= 0.99 for recall in snapshot["index"]["recall_at_20"].values())


def test_a_search_prints_the_promised_object(explained, snapshot):
    answer = explained.json("search", "a cat", "--k", "3")
    assert answer["snapshot"] == snapshot["id"]
    assert len(answer["hits"]) == 3
    first = answer["hits"][0]
    assert set(first["component"]) == {"model", "layer", "index", "sign"}
    assert {"score", "z", "clarity", "examples"} <= set(first)
    assert {"sample", "label", "activation"} <= set(first["examples"][0])
    scores = [hit["score"] for hit in answer["hits"]]
    assert scores == sorted(scores, reverse=True)


def test_a_search_for_a_cat_finds_components_that_the_cat_drives(explained):
    answer = explained.json("search", "a cat", "--k", "5", "--layer", "classifier")
    labels = [example["label"] for hit in answer["hits"] for example in hit["examples"][:3]]
    assert labels.count("cat") > len(labels) / 2


def test_a_component_shows_its_examples_best_first(explained, snapshot):
    hit = explained.json("search", "a cat", "--k", "1")["hits"][0]["component"]
    detail = explained.json("component", snapshot["id"], hit["layer"], str(hit["index"]), "--sign", str(hit["sign"]))
    values = [example["activation"] * hit["sign"] for example in detail["examples"]]
    assert values == sorted(values, reverse=True)
    assert sum(detail["histogram"]["counts"]) == 110
    assert len(detail["nearest"]) > 0


def test_filters_hold_for_every_hit(explained):
    answer = explained.json("search", "a flower", "--k", "50", "--layer", "conv_head", "--min-clarity", "0.3")
    assert answer["hits"]
    assert all(hit["component"]["layer"] == "conv_head" and hit["clarity"] >= 0.3 for hit in answer["hits"])


def test_like_this_component_does_not_return_the_component_itself(explained):
    answer = explained.json("search", "--like", "conv_head:5", "--k", "20")
    assert answer["hits"]
    assert all((hit["component"]["layer"], hit["component"]["index"]) != ("conv_head", 5) for hit in answer["hits"])


def test_an_unknown_layer_is_refused_with_the_closest_names(explained):
    done = explained.run(
        "snapshot", "build", "--model", "lite0", "--dataset", "demo", "--layer", "conv_haed", check=False
    )
    assert done.returncode == 1
    assert "UnknownLayer" in done.stderr
    assert "conv_head" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["search"], 2, "give a text"),
        (["search", "x", "--snapshot", "nothing"], 1, "UnknownSnapshot"),
        (["search", "--image", "/nowhere.png"], 1, "no file"),
        (["search", "--like", "conv_head"], 1, "LAYER:INDEX"),
        (["dataset", "show", "nothing"], 1, "UnknownDataset"),
        (["model", "add", "x", "--architecture", "timm:tf_efficientnet_lite9"], 1, "UnknownArchitecture"),
        (["job", "show", "j_00000000"], 1, "UnknownJob"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_mistakes_end_with_the_right_code_and_a_readable_reason(explained, words, code, text):
    done = explained.run(*words, check=False)
    assert (done.returncode, text in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_building_the_same_snapshot_again_reuses_every_part(explained, snapshot):
    words = ["snapshot", "build", "--model", "lite0", "--dataset", "demo", "--k", "10"]
    request = snapshot["request"]
    assert (
        request["shard"] == 48
    )  # the command line's default differs, so this is another snapshot: only embeddings recur
    before = {job["id"] for job in explained.json("job", "list")["items"]}
    again = explained.json(*words, *[word for layer in request["layers"] for word in ("--layer", layer)])
    once_more = explained.json(*words, *[word for layer in request["layers"] for word in ("--layer", layer)])
    assert again["id"] == once_more["id"] != snapshot["id"]
    newest = explained.json("job", "list")["items"][0]  # the list is a page, newest first: its length tells nothing
    assert newest["id"] not in before
    assert all(stage["parts_reused"] == stage["parts"] for stage in newest["stages"])


def index_of(installation: Installation, snapshot: str) -> Path:
    """The file of a snapshot's FAISS index; other tests may have built others in the shared folder."""
    with closing(sqlite3.connect(installation.home / "xsys.sqlite")) as db:
        ((artifacts,),) = db.execute("SELECT artifacts FROM snapshot WHERE id = ?", (snapshot,)).fetchall()
        ((blob,),) = db.execute("SELECT blob FROM artifact WHERE key = ?", (json.loads(artifacts)["index/index"],))
    return Blobs(installation.home / "blobs").path(blob)


def test_a_flipped_byte_is_found_refused_and_repaired(explained, snapshot):
    assert explained.json("snapshot", "check", snapshot["id"])["damaged"] == []
    index = index_of(explained, snapshot["id"])
    intact = index.read_bytes()
    index.write_bytes(intact[:100] + bytes([intact[100] ^ 1]) + intact[101:])
    refused = explained.run("search", "a cat", "--snapshot", snapshot["id"], check=False)
    assert refused.returncode == 1
    assert "CorruptArtifact" in refused.stderr
    assert explained.run("snapshot", "check", snapshot["id"], check=False).returncode == 1
    assert explained.json("snapshot", "repair", snapshot["id"])["damaged"] == []
    assert index.read_bytes() == intact
    assert explained.json("search", "a cat", "--snapshot", snapshot["id"])["hits"]


def test_a_job_says_when_it_began_and_when_it_ended(explained):
    for job in explained.json("job", "list")["items"]:
        if any(stage["parts_reused"] < stage["parts"] for stage in job["stages"]):
            assert job["created_at"] <= job["started_at"] <= job["ended_at"]


def test_the_doctor_finds_nothing_wrong(explained):
    findings = json.loads(explained.run("doctor", "--json").stdout)["findings"]
    assert {finding["subject"]: finding["ok"] for finding in findings}["database"] is True
