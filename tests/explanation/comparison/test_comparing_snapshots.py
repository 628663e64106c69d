import csv
import io

import numpy as np
import pytest

from contracts.comparison import ComparisonQuery, DifferentEncoders, NothingToAlign
from contracts.errors import UnknownLayer, UnknownSnapshot
from tests.explanation.planted import CALLER, STRANGER


def compare(three, ours="before", theirs="after", **options):
    return three.compare(CALLER, ours, ComparisonQuery(other=theirs, **options))


def lines(binary) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(binary.body.decode())))


# --- comparison -----------------------------------------------------------------------------------
def test_a_snapshot_compared_with_itself_is_wholly_known(three):
    found = compare(three, theirs="before", pairing="one-to-one", k=100)
    for side in (found.ours, found.theirs):
        assert side.similarity == pytest.approx(1, abs=1e-6)
        assert side.alone == 0
        assert side.chance < 0.9 and side.ceiling <= 1
        assert side.excess == pytest.approx(side.similarity - side.chance)
    assert found.paired == found.ours.components
    assert all(pair.ours.component == pair.theirs.component for pair in found.pairs)
    assert found.same_dataset and found.encoder == "planted"


def test_concepts_are_recognised_whatever_their_number(three):
    found = compare(three, layers=["maps"], other_layers=["maps"], k=100)
    partner = {pair.ours.component.index: pair.theirs.component.index for pair in found.pairs}
    assert {0: 1, 1: 0, 2: 2, 4: 6}.items() <= partner.items()
    assert found.pairs[0].cosine == max(pair.cosine for pair in found.pairs)


def test_a_concept_that_only_one_side_has_stands_alone_with_its_nearest(three, shown):
    found = compare(three, layers=["maps"], other_layers=["maps"])
    only = {lone.component.component.index: lone for lone in found.only_ours}
    assert set(only) == {3}
    assert {shown[example.sample] for example in only[3].component.examples} == {3}
    assert only[3].relative < 0.5 and only[3].cosine < only[3].ceiling
    assert found.ours.alone == 1
    assert found.only_theirs == [] and found.theirs.undecided == 1  # their 3 is random: that nobody has it says nothing


def test_layers_form_a_matrix_with_chance(three):
    found = compare(three)
    assert [(one.ours, one.theirs) for one in found.layers] == [
        ("maps", "maps"), ("maps", "tokens"), ("tokens", "maps"), ("tokens", "tokens"),
    ]  # fmt: skip
    same = found.layers[3]
    assert same.similarity == pytest.approx(1, abs=1e-5) and same.back == pytest.approx(1, abs=1e-5)
    assert same.z > 3 and same.chance < 0.9
    assert found.similarity == pytest.approx((found.ours.similarity + found.theirs.similarity) / 2)


def test_a_higher_threshold_knows_less(three):
    alone = [compare(three, threshold=threshold).ours.alone for threshold in (0, 0.5, 1.2)]
    assert alone == sorted(alone) and alone[0] < alone[2]


def test_two_encoders_are_refused_by_name(three):
    with pytest.raises(DifferentEncoders) as refusal:
        compare(three, theirs="foreign")
    assert "before" in refusal.value.detail and "foreign" in refusal.value.detail
    assert refusal.value.facts["ours"]["fingerprint"] != refusal.value.facts["theirs"]["fingerprint"]


def test_unknown_layers_and_foreign_workspaces_are_refused(three):
    with pytest.raises(UnknownLayer):
        compare(three, other_layers=["nowhere"])
    with pytest.raises(UnknownSnapshot):
        three.compare(STRANGER, "before", ComparisonQuery(other="after"))


def test_a_table_has_a_line_for_every_component(three):
    query = ComparisonQuery(other="after", layers=["maps"], other_layers=["maps"])
    told = lines(three.comparison_report(CALLER, "before", query, "csv"))
    found = compare(three, layers=["maps"], other_layers=["maps"])
    assert len(told) == found.ours.components + found.theirs.components
    assert [line["index"] for line in told if (line["side"], line["state"]) == ("ours", "alone")] == ["3"]
    first = next(line for line in told if line["side"] == "ours" and line["index"] == "0")
    assert (first["nearest_layer"], first["nearest_index"], first["pair_index"]) == ("maps", "1", "1")


def test_a_page_shows_both_sides_and_no_script(three):
    page = three.comparison_report(
        CALLER, "before", ComparisonQuery(other="after", other_layers=["maps"])
    ).body.decode()
    assert "before and after" in page and "maps 3" in page
    assert page.count("<img") > 10 and "<script" not in page


# --- drift ----------------------------------------------------------------------------------------
def test_drift_tells_the_fate_of_each_planted_change(three):
    found = three.drift(CALLER, "before", "after", layer="maps", k=100)
    fate = {row.component.index: row for row in found.rows}
    assert {index: row.fate for index, row in fate.items()} == {
        0: "changed", 1: "changed", 3: "changed", 4: "lost", 6: "gained",
    }  # fmt: skip
    assert fate[0].moved_to.index == 1 and fate[1].moved_to.index == 0 and fate[4].moved_to.index == 6
    assert fate[0].overlap == 0 and fate[0].cosine < 0.5
    assert fate[3].clarity_change < -0.3
    rest = {"kept": 3, "undecided": 0, "absent": 1}  # 2, 5 and 8; 7, which has too few examples
    assert found.layers[0].fates == rest | {"changed": 3, "lost": 1, "gained": 1}


def test_scale_is_told_apart_from_meaning(three):
    told = {line["index"]: line for line in lines(three.drift_report(CALLER, "before", "after", "maps", format="csv"))}
    assert float(told["2"]["scale"]) == pytest.approx(3)
    assert float(told["2"]["cosine"]) == pytest.approx(1) and float(told["2"]["overlap"]) == 1
    assert told["2"]["fate"] == "kept"


def test_nothing_has_drifted_from_itself(three):
    found = three.drift(CALLER, "before", "before")
    assert found.rows == [] and found.unaligned == []
    assert all(layer.cosine == pytest.approx(1) and layer.overlap == 1 for layer in found.layers)


def test_drift_needs_a_common_layer_and_one_encoder(three, monkeypatch):
    with pytest.raises(DifferentEncoders):
        three.drift(CALLER, "before", "foreign")
    opened = three._explanation.opened(CALLER, "after")
    narrow = [layer.model_copy(update={"width": layer.width + 1}) for layer in opened.snapshot.layers]
    monkeypatch.setattr(opened, "snapshot", opened.snapshot.model_copy(update={"layers": narrow}))
    with pytest.raises(NothingToAlign) as refusal:
        three.drift(CALLER, "before", "after")
    assert refusal.value.facts["new"] == ["maps", "tokens"]


def test_a_drift_page_shows_examples_before_and_after(three):
    page = three.drift_report(CALLER, "before", "after").body.decode()
    assert "maps 4" in page and "lost" in page and page.count("<img") > 10


# --- distributions --------------------------------------------------------------------------------
def test_planted_concepts_are_clearer_than_random_sets_and_a_random_component_is_not(three):
    found = three.distributions(CALLER, "before", "maps").layers[0]
    clarity = next(one for one in found.metrics if one.metric == "clarity")
    assert clarity.n == found.components == 7
    assert clarity.above_null == pytest.approx(6 / 7)
    assert clarity.quantiles["0.5"] > clarity.null_quantiles["0.95"] > clarity.null_quantiles["0.5"]
    for one in found.metrics:
        assert len(one.edges) == len(one.counts) + 1 == len(one.null_counts) + 1
        assert sum(one.counts) == pytest.approx(1) and sum(one.null_counts) == pytest.approx(1)


def test_distributions_of_all_layers_come_in_the_order_of_the_snapshot(three):
    found = three.distributions(CALLER, "before")
    assert [layer.layer for layer in found.layers] == ["maps", "tokens"]
    assert np.isfinite([one.null_mean for layer in found.layers for one in layer.metrics]).all()
