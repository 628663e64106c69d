"""Labels end to end: the command line, the job, the stored set, and what is refused before any work."""

import json

import pytest


@pytest.fixture(scope="module")
def labelled(explained) -> dict:
    """The leaderboard of labels by four scorers, INVERT among them, on the classifier layer."""
    return explained.json(
        "label", "build", "small", "--layer", "classifier", "--vocabulary", "imagenet-1k", "--scorer", "mean",
        "--scorer", "csp:gamma=0.5", "--scorer", "softwpmi", "--scorer", "invert:length=2", "--template", "{}",
    )  # fmt: skip


def test_the_leaderboard_has_every_scorer_with_intervals_and_the_controls(labelled):
    (layer,) = labelled["layers"]
    scorers = [row["scorer"] for row in layer["rows"] if not row["control"]]
    assert sorted(scorers) == ["csp:gamma=0.5", "invert:length=2", "mean", "softwpmi"]
    judged = [row for row in layer["rows"] if row["correlation"] is not None]  # INVERT's formulas are constant here
    means = [row["correlation"]["value"] for row in judged if not row["control"]]
    assert len(means) == 3 and means == sorted(means, reverse=True)
    controls = {row["scorer"]: row for row in layer["rows"] if row["control"]}
    assert set(controls) == {"random label", "shuffled labels", "most frequent label"}
    for row in judged:
        assert row["correlation"]["low"] <= row["correlation"]["value"] <= row["correlation"]["high"]
        assert row["labelled"] + row["unlabelled"] == 2000  # both signs of 1,000 logits
    best_text = max(row["correlation"]["low"] for row in judged if not row["control"])
    assert best_text > controls["random label"]["correlation"]["high"]
    assert layer["probe"] + layer["tune"] + layer["held_out"] == 110


def test_a_component_has_labels_of_all_scorers_with_margin_and_faithfulness(explained, labelled):
    named = 0
    for index in range(0, 1000, 100):
        found = explained.json("label", "show", "small", "classifier", str(index))
        assert found["labels"] == labelled["labels"]
        for one in found["scorers"]:
            if one["labels"]:
                named += 1
                assert one["status"] in ("ok", "unsure")
                scores = [label["score"] for label in one["labels"]]
                assert scores == sorted(scores, reverse=True)
                if len(scores) > 1:
                    assert one["margin"] == pytest.approx(scores[0] - scores[1], abs=1e-5)
                assert set(one["evaluation"]) >= {"correlation", "low", "high", "auprc", "f1", "random_correlation"}
            else:
                assert one["status"] in ("insufficient_evidence", "no_contrast")
    assert named > 10


def test_the_same_request_again_is_answered_from_what_is_stored(explained, labelled):
    again = explained.json(
        "label", "build", "small", "--layer", "classifier", "--scorer", "mean", "--scorer", "csp:gamma=0.5",
        "--scorer", "softwpmi", "--scorer", "invert:length=2", "--template", "{}",
    )  # fmt: skip
    assert again == labelled
    job = explained.json("job", "list")["items"][0]
    assert job["kind"] == "labels"
    assert [stage["parts_reused"] for stage in job["stages"]] == [1, 1, 1]


def test_a_label_set_says_how_it_was_made(explained, labelled):
    (found,) = [one for one in explained.json("label", "list", "small")["items"] if one["id"] == labelled["labels"]]
    assert found["templates"] == ["{}"]
    assert (found["vocabulary"]["source"], found["vocabulary"]["n"] + found["vocabulary"]["merged"]) == (
        "imagenet-1k",
        1000,
    )
    assert len(found["vocabulary"]["sha256"]) == 64
    assert found["encoder"] == "imagenet-minilm"


@pytest.mark.parametrize(
    ("names", "refusal"),
    [("", "EmptyVocabulary"), ("dog\nDOG\n", "EmptyVocabulary"), ("dog\n" + "x" * 10_000, "LabelTooLong")],
)
def test_bad_vocabularies_are_refused_before_any_work(explained, tmp_path, names, refusal):
    path = tmp_path / "names.txt"
    path.write_text(names)
    newest = explained.json("job", "list")["items"][0]["id"]
    done = explained.run("label", "build", "small", "--vocabulary", str(path), check=False)
    assert done.returncode == 1
    assert refusal in done.stderr
    assert explained.json("job", "list")["items"][0]["id"] == newest


def test_unknown_scorers_layers_and_snapshots_are_refused(explained):
    for words, refusal in [
        (("label", "build", "small", "--scorer", "best"), "UnknownScorer"),
        (("label", "build", "small", "--scorer", "csp:gamma=7"), "InvalidRequest"),
        (("label", "build", "small", "--layer", "attic"), "UnknownLayer"),
        (("label", "build", "nowhere"), "UnknownSnapshot"),
        (("label", "show", "small", "conv_head", "0", "--labels", "l_0123456789abcdef"), "UnknownLabels"),
    ]:
        done = explained.run(*words, check=False)
        assert done.returncode == 1, words
        assert refusal in done.stderr


def test_the_leaderboard_reads_the_same_over_rest(served, labelled):
    import httpx

    answer = httpx.get(
        f"{served.url}/v1/snapshots/small/labels/leaderboard", params={"labels": labelled["labels"]},
        headers={"Authorization": f"Bearer {served.token()}"}, timeout=60,
    )  # fmt: skip
    assert answer.status_code == 200
    assert answer.json() == json.loads(json.dumps(labelled))


def test_candidates_are_refused_where_no_model_is_set_up_on_the_command_line_and_over_rest(explained, served):
    import httpx

    newest = explained.json("job", "list")["items"][0]["id"]
    done = explained.run("label", "build", "small", "--candidates", "contrastive", check=False)
    assert done.returncode == 1
    assert "VisionModelUnavailable" in done.stderr and "XSYS_VLM_FOLDER or XSYS_VLM_URL is not set" in done.stderr
    answer = httpx.post(
        f"{served.url}/v1/labels", json={"snapshot": "small", "candidates": {"grid": "positive"}},
        headers={"Authorization": f"Bearer {served.token()}"}, timeout=60,
    )  # fmt: skip
    problem = answer.json()
    assert (answer.status_code, problem["title"], problem["field"]) == (503, "VisionModelUnavailable", "candidates")
    assert "XSYS_VLM_URL" in problem["remedy"]
    assert explained.json("job", "list")["items"][0]["id"] == newest


def test_a_grid_that_does_not_exist_is_refused(explained):
    done = explained.run("label", "build", "small", "--candidates", "both", check=False)
    assert done.returncode != 0 and "positive" in done.stderr
