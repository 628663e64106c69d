"""A training gives its architecture another number of classes only where there is one."""

from datetime import UTC, datetime

import pytest

from contracts.model import Model, ModelRef, Preprocessing
from services.model.planning_training import config_of

HASH = "0" * 64


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (["a", "b"], {"depth": 2}),
        (["a", "b", "c"], {"depth": 2, "num_classes": 2}),
        (None, {"depth": 2, "num_classes": 2}),
    ],
    ids=["as many", "more", "unknown"],
)
def test_the_number_of_classes_is_an_argument_only_where_it_changes(classes, expected):
    half = (0.5, 0.5, 0.5)
    ref = ModelRef(
        id="m_1", name="net", architecture="entry_point:x:y", config={"depth": 2}, weights_sha256=HASH,
        preprocessing=Preprocessing(resize=8, crop=8, mean=half, std=half), preprocess_sha256=HASH, model_sha256=HASH,
    )  # fmt: skip
    now = datetime(2026, 1, 1, tzinfo=UTC)
    model = Model(ref=ref, layers=[], parameters=1, classes=classes, lineage=HASH, created_at=now)
    assert config_of(model, 2) == expected
