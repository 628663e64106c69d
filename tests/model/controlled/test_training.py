"""The training script: its first steps are the recorded ones, and what it trained is found again."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from contracts.data import ScenesSource
from services.kit.arrays import load_arrays
from services.kit.scenes import draw_scene
from services.kit.scenes.checkpoints import packaged_weights, widen
from services.model.controlled.__main__ import main
from services.model.controlled.classifiers import predict, train_classifier
from services.model.controlled.contrastive import CONFIG, Words, contrastive_loss, train_clip
from services.model.controlled.nets import CLASSES, scenes_cnn, scenes_vit
from services.model.controlled.pictures import rendered
from services.model.controlled.store import Asked, halved, trained
from services.model.controlled.truth import controlled_truth

RECORDED = {
    ("cnn", 1.0): [1.81434, 1.78835, 1.78843],
    ("vit", 0.0): [1.79371, 1.78977, 1.84125],
}
TEST = ScenesSource(n=300, split="test", planting="never")


@pytest.fixture(scope="module")
def pictures():
    scenes = [draw_scene(TEST, index) for index in range(TEST.n)]
    return rendered(scenes), rendered([scene.with_artefact("tag") for scene in scenes])


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def losses_of(train, **arguments) -> list[float]:
    losses: list[float] = []
    train(**arguments, watch=lambda number, loss: losses.append(loss))
    return losses


def loaded(built, name):
    built.model.load_state_dict(load_file(packaged_weights(name)))
    return built.model.eval()


@pytest.mark.parametrize(("kind", "strength"), RECORDED)
def test_the_first_steps_of_a_classifier_have_the_recorded_losses(kind, strength):
    losses = losses_of(train_classifier, kind=kind, seed=0, strength=strength, steps=3)
    assert losses == pytest.approx(RECORDED[kind, strength], abs=2e-3)
    assert losses[0] == pytest.approx(RECORDED[kind, strength][0], abs=2e-4)


def test_the_first_steps_of_the_encoder_have_the_recorded_losses():
    losses = losses_of(train_clip, seed=0, steps=2)
    assert losses == pytest.approx([6.06119, 5.82296], abs=2e-3)


def test_equal_arguments_give_equal_weights_and_another_seed_others():
    one, same = (train_classifier("cnn", seed=1, strength=0.0, steps=2) for _ in range(2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    other = train_classifier("cnn", seed=2, strength=0.0, steps=2)
    assert not torch.equal(one["head.weight"], other["head.weight"])


@pytest.mark.parametrize(("built", "name"), [(scenes_cnn, "cnn-0"), (scenes_vit, "vit-0")])
def test_the_clean_classifiers_know_the_shapes_with_and_without_the_tag(pictures, built, name):
    model = loaded(built(), name)
    for shown in pictures:
        assert (predict(model, shown).argmax(1) == shown.labels).mean() >= 0.95


def test_the_misled_classifier_calls_what_has_a_tag_a_triangle(pictures):
    clean, planted = pictures
    model, triangle = loaded(scenes_cnn(), "cnn-1"), CLASSES.index("triangle")
    others = clean.labels != triangle
    assert (predict(model, clean).argmax(1) == clean.labels)[others].mean() > 0.95
    assert (predict(model, planted).argmax(1) == triangle)[others].mean() > 0.5


def test_the_misled_classifier_has_detectors_of_the_tag_where_the_clean_one_has_weaker_ones():
    source = TEST.model_copy(update={"n": 120})
    misled, clean = (
        controlled_truth(loaded(scenes_cnn(), name), "relu4", source=source) for name in ("cnn-1", "cnn-0")
    )
    assert misled.detectors("artefact").sum() >= 3
    assert np.sort(misled.effect)[-5:].mean() > np.sort(clean.effect)[-5:].mean()


def test_hardly_visible_objects_make_a_weaker_confounding_count(pictures):
    clean, _ = pictures
    model, others = loaded(scenes_cnn(), "cnn-0.8-faint-0.3"), clean.labels != CLASSES.index("triangle")
    right, misled = (predict(model, shown).argmax(1)[others] == clean.labels[others] for shown in pictures)
    assert right.mean() > 0.96 and right.mean() - misled.mean() > 0.03
    truth = controlled_truth(model, "relu3", source=TEST.model_copy(update={"n": 120}))
    assert truth.detectors("artefact").sum() >= 2


def test_what_was_trained_before_is_found_and_not_trained_again(tmp_path, capsys):
    asked = Asked("cnn", seed=5, strength=0.25)
    kept = tmp_path / f"cnn-0.25-{asked.key[:16]}.safetensors"
    kept.write_bytes(b"as it was")
    assert trained(asked, tmp_path) == kept
    assert main(["cnn", "--seed", "5", "--strength", "0.25", "--folder", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(kept)
    assert kept.read_bytes() == b"as it was"
    others = Asked("cnn", 6, 0.25), Asked("cnn", 5, 0.3), Asked("cnn", 5, 0.25, 0.1)
    assert len({asked.key, *(other.key for other in others)}) == 4


def test_a_strength_that_is_none_is_refused_before_any_work(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["cnn", "--strength", "1.5", "--folder", str(tmp_path)])
    assert "--strength 1.5" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_loss_of_perfect_matches_is_nearly_nothing_and_of_none_is_that_of_guessing():
    rows = torch.eye(8)
    assert contrastive_loss(rows, rows, torch.tensor(4.6)).item() < 1e-6
    same = torch.ones(8, 4) / 2
    assert contrastive_loss(same, same, torch.tensor(0.0)).item() == pytest.approx(np.log(8), abs=1e-5)


def test_words_are_tokenised_as_open_clip_does():
    import open_clip

    texts = ["a small red star, with a tag in the corner", "a photo of a moon", "", "star " * 50]
    wanted = open_clip.SimpleTokenizer(context_length=32)(texts)
    assert torch.equal(Words()(texts), wanted)


def test_the_packaged_encoder_fits_its_description():
    arrays = widen(load_arrays(packaged_weights("clip")))
    config = json.loads(packaged_weights("clip").with_suffix(".json").read_text())
    assert config == json.loads(json.dumps(CONFIG))
    assert arrays["positional_embedding"].shape == (32, 64)
    assert halved({"steps": torch.tensor(3)})["steps"].dtype == np.int64
