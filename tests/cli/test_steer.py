"""`xsys steer` against a real model service with tiny networks; only the search is planted."""

import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from contracts.explanation import SearchHit, SearchHits
from contracts.snapshots import ComponentRef
from orchestration.cli import app as tree
from orchestration.cli.app import app, guarded
from tests.model.test_attributions import ME, encoded, models, picture  # noqa: F401
from tests.model.test_steering import Labelled

SHA = "a" * 64


class Snapshots:
    """One snapshot in which a search finds components 3 and 5 of layer2."""

    def snapshots(self, caller, limit):
        return SimpleNamespace(items=[SimpleNamespace(id="s_1")])

    def search(self, caller, snapshot, query):
        assert (snapshot, query.layers, query.terms[0].text) == ("s_1", ["layer2"], "a striped animal")
        hits = [
            SearchHit(
                component=ComponentRef(model="m", layer="layer2", index=index, sign=sign), score=score, z=None,
                z_random=None, clarity=0.5, prototype=0, n_valid=3, examples=[],
            )
            for index, sign, score in ((3, 1, 0.6), (5, -1, 0.2), (6, 1, -0.1))
        ]  # fmt: skip
        return SearchHits(snapshot="s_1", lineage="l", hits=hits)


@pytest.fixture
def steer(models, monkeypatch):  # noqa: F811
    models.data = Labelled()
    desk = SimpleNamespace(caller=ME, model=models, explanation=Snapshots())
    if not app.registered_commands:
        tree.register_commands()
    monkeypatch.setattr(tree, "local_desk", lambda: desk)

    def run(*words, net="cnn"):
        return CliRunner().invoke(app, ["steer", net, *words], catch_exceptions=False)

    return run


SAMPLE = ("--dataset", "d", "--sample", "1")


def test_a_component_is_ablated_and_both_predictions_are_printed(steer):
    done = steer(*SAMPLE, "--component", "layer2:3")
    assert done.exit_code == 0
    first = done.stdout.splitlines()[0]
    assert " -> output " in first and "at strength 1; total variation 0." in first
    assert "layer2" in done.stdout and "recommended" not in done.stdout


def test_several_strengths_give_a_curve_and_a_recommendation_or_its_reason(steer):
    done = steer(*SAMPLE, "--component", "layer2:3", "--operation", "add", "--strength", "-4,0.5,8")
    assert "closeness" in done.stdout and "recommended strength" in done.stdout


def test_json_is_the_answer_of_the_service(steer):
    found = json.loads(
        steer(*SAMPLE, "--component", "layer2:3:1", "--operation", "scale", "--strength", "1", "--json").stdout
    )
    assert found["variation"] == 0.0 and found["before"] == found["after"]


def test_words_become_the_components_that_a_search_finds_weighted_by_score(steer):
    found = steer(*SAMPLE, "--text", "layer2:a striped animal", "--operation", "add", "--strength", "3", "--json")
    both = steer(*SAMPLE, "--component", "layer2:3", "--operation", "add", "--strength", "3", "--json")
    assert json.loads(found.stdout)["variation"] != json.loads(both.stdout)["variation"]


def test_a_page_has_the_table_the_curve_and_both_heat_maps(steer, tmp_path):
    page = tmp_path / "page.html"
    steer(*SAMPLE, "--component", "layer2:3", "--strength", "0.5,1", "--method", "gradient", "--html", str(page))
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 2 and "<polyline" in text
    assert "ecommended strength" in text
    assert "output 0" in text


def test_a_picture_file_a_difference_of_labels_a_vector_and_a_condition_are_taken(steer, tmp_path):
    (tmp_path / "p.png").write_bytes(encoded(picture(1)))
    image = ("--image", str(tmp_path / "p.png"))
    more = ("--region", "0,0,1,0.5", "--when", "layer1:0:-1e9")
    from_file = json.loads(steer(*image, "--component", "layer2:3", *more, "--json").stdout)
    from_data = json.loads(steer(*SAMPLE, "--component", "layer2:3", *more, "--json").stdout)
    assert from_file["after"] == from_data["after"] and from_file["variation"] > 0
    never = json.loads(steer(*image, "--component", "layer2:3", "--when", "layer1:0:1e9", "--json").stdout)
    assert never["variation"] == 0.0
    labels = steer(*SAMPLE, "--toward", "layer2:a", "--away", "b", "--operation", "add", "--strength", "2", "--json")
    assert json.loads(labels.stdout)["variation"] > 0
    (tmp_path / "v.json").write_text("[1.0, 2.0, 0, 0, 0, 0, 0, 0]")
    vector = steer(*SAMPLE, "--direction", f"layer2:{tmp_path}/v.json", "--json")
    assert json.loads(vector.stdout)["variation"] > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--component", "layer2"), "InvalidRequest (component)"),
        ((), "InvalidRequest (component)"),
        (("--component", "layer2:3", "--strength", "much"), "InvalidRequest (strength)"),
        (("--component", "layer2:3", "--region", "0,1"), "InvalidRequest (region)"),
        (("--component", "layer2:3", "--when", "layer2:3"), "InvalidRequest (when)"),
        (("--component", "layer2:99"), "ComponentOutOfRange (interventions.0.target.index)"),
        (("--component", "leyer2:3"), "UnknownLayer (interventions.0.target.layer)"),
        (("--component", "layer2:3", "--operation", "paint"), "change"),
        (("--toward", "layer2:a"), "InvalidRequest (toward)"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused_with_the_field(steer, words, said, capsys):
    assert guarded(lambda: steer(*SAMPLE, *words)) != 0
    assert said in capsys.readouterr().err
