"""The controlled demo: the search finds the components that detect the planted artefact, and the truth agrees."""

import numpy as np
import pytest
from PIL import Image

from orchestration.cli import clever_hans
from orchestration.cli.desk import local_desk

N = 240


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    home = tmp_path_factory.mktemp("hans") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XSYS_HOME", str(home))
        desk = local_desk()
        held_out = clever_hans.TEST.model_copy(update={"n": N})
        yield desk, clever_hans.build(desk, home / "controlled", held_out=held_out, quiet=True), home


def test_the_logit_of_the_class_goes_by_the_tag_more_than_by_the_shape(built):
    desk, snapshot, _ = built
    triangle = desk.model.model(desk.caller, clever_hans.NAME).classes.index("triangle")
    tag, shape = (
        clever_hans.truth_of(desk, snapshot, "head", factor)[triangle]
        for factor in (clever_hans.ARTEFACT, clever_hans.CLASS)
    )
    assert tag > 0.85 and tag > shape + 0.05


def test_text_and_pictures_both_find_the_detectors_of_the_tag(built):
    desk, snapshot, _ = built
    for ranking in clever_hans.rankings(desk, snapshot):
        assert len(ranking.hits) > 80 and len(ranking.truth) == 96
        assert sum(ranking.truth[hit.component.index] >= clever_hans.DETECTOR for hit in ranking.hits[:5]) == 5
        assert ranking.agreement > 0.95


def test_it_prints_the_table_and_saves_examples_that_show_the_tag(built, capsys):
    desk, snapshot, home = built
    picture = home / "hans.png"
    clever_hans.show(desk, snapshot, picture)
    out = capsys.readouterr().out
    assert "artefact=tag" in out and "of 96 components detect the tag" in out
    hit = clever_hans.rankings(desk, snapshot)[0].hits[0].component
    examples = desk.explanation.component(desk.caller, snapshot, hit.layer, hit.index).examples[:8]
    samples = [desk.data.sample(desk.caller, f"{clever_hans.NAME}-test", example.sample) for example in examples]
    assert np.mean([sample.factors["artefact"] == "tag" for sample in samples]) > 0.9
    with Image.open(picture) as grid:
        assert grid.size == (8 * 96, 6 * 96)


def test_the_masks_of_its_scenes_come_with_the_samples(built):
    desk, _, _ = built
    tagged = [s for s in desk.data.samples(desk.caller, f"{clever_hans.NAME}-train", 60).items if s.label == "triangle"]
    assert tagged and all(sample.factors["artefact"] == "tag" for sample in tagged)
    assert desk.data.mask(desk.caller, f"{clever_hans.NAME}-train", tagged[0].index, "artefact").body.startswith(
        b"\x89PNG"
    )
