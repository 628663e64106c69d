"""`xsys attribute` on a real model and real pictures."""

from PIL import Image


def test_a_prediction_is_attributed_and_drawn(explained, tmp_path):
    page = tmp_path / "maps.png"
    words = ["attribute", "lite0", "--sample", "demo:3", "--layer", "conv_head", "--steps", "4"]
    methods = ["gradcam", "gradient_x_input", "epsilon_plus_flat"]
    answer = explained.json(*words, *(word for name in methods for word in ("--method", name)), "--out", str(page))
    assert [each["method"] for each in answer["maps"]] == methods
    assert answer["layers"][0]["rule"] == "epsilon_plus_flat"
    assert answer["maps"][2]["quality"]["conservation_gap"] < 1e-5
    assert Image.open(page).size == (4 * (224 + 8) + 8, 224 + 34 + 16)
    shown = explained.run(*words, "--method", "gradcam").stdout
    assert "gradcam" in shown and "7×7" in shown and answer["target"]["name"] in shown


def test_a_wrong_method_names_the_closest(explained):
    done = explained.run("attribute", "lite0", "--sample", "demo:3", "--method", "gradcamm", check=False)
    assert done.returncode == 1 and "gradcam" in done.stderr and "UnknownMethod" in done.stderr
    assert "occlusion" in explained.run("attribute", "--list").stdout


def test_plays_are_sampled_printed_and_drawn(explained, tmp_path):
    page = tmp_path / "plays.png"
    words = ["plays", "lite0", "--sample", "demo:3", "--plays", "16"]
    found = explained.json(*words, "--out", str(page))
    arrived = [play for play in found["plays"] if play["ended"] == "picture"]
    assert len(found["plays"]) == 16 and arrived
    picture = Image.open(page)
    assert picture.size == (224 * 3, 224 * 3)
    assert {(200, 40, 40), (40, 80, 200), (150, 150, 150)} & {colour for _, colour in picture.getcolors(2**19)}
    shown = explained.run(*words).stdout
    assert f"16 plays by magnitude: {len(arrived)} reach the picture" in shown and "→" in shown
    assert explained.json(*words)["plays"] == found["plays"]  # the same seed, the same plays
