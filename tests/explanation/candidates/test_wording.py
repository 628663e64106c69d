"""Prompts and what is taken from answers, nonsense and floods included."""

import pytest

from services.explanation.candidates.wording import LONGEST, concepts_in, prompt_for


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("Red circle, striped fur, tail", ["red circle", "striped fur", "tail"]),
        ("1. Red Circle\n2) striped_fur\n- tail.", ["red circle", "striped fur", "tail"]),
        ("cat; CAT, Cat , dog", ["cat", "dog"]),
        ('"black-and-white", **stripes**', ["black-and-white", "stripes"]),
        ("Straße, 猫, naïve", ["straße", "猫", "naïve"]),
        ("one, two, three, four", ["one", "two", "three"]),
        ("", []),
        (" , ;\n -- , ... ", []),
        ("I am sorry but as a model I cannot say what these photographs have in common", []),
        ("<script>alert(1)</script>", ["script alert 1 script"]),
    ],
)
def test_concepts_are_cut_cleaned_and_counted(answer, found):
    assert concepts_in(answer, 3) == found


def test_what_is_too_long_is_dropped_and_does_not_take_the_place_of_others():
    assert concepts_in("x" * (LONGEST + 1) + ", " + "y" * LONGEST + ", z", 3) == ["y" * LONGEST, "z"]


def test_a_flood_is_read_only_at_its_beginning():
    assert concepts_in("a, " * 1000 + "b, c", 3) == ["a"]


def test_each_grid_has_its_own_question():
    assert "exactly 3 short visual concepts" in prompt_for("positive", 3)
    assert "exactly one short visual concept " in prompt_for("positive", 1)
    assert "absent from the second" in prompt_for("contrastive", 3)
    assert "second" not in prompt_for("positive", 3)
