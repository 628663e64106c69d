"""What leaves the service: equal for everybody who asks at once, finite, and as the contract reads it back."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from contracts.base import Page
from contracts.errors import EmptyPrompt, EncoderMismatch, InvalidRequest, UnsafePicture
from contracts.explanation import (
    Component,
    ComponentDetail,
    ComponentTerm,
    PictureTerm,
    SampleTerm,
    SearchHits,
    SearchQuery,
    TextTerm,
)
from contracts.snapshots import Snapshot
from services.kit.cursors import encode_cursor
from tests.explanation.planted import CALLER, CONCEPTS, MAPS, TOKENS, PlantedEncoder, picture, png

QUERIES = [
    *(SearchQuery(terms=[TextTerm(text=concept)], k=1 + number) for number, concept in enumerate(CONCEPTS)),
    SearchQuery(terms=[SampleTerm(sample=3)], min_z=0.5),
    SearchQuery(terms=[SampleTerm(sample=4), TextTerm(text="sky", weight=-0.5)], layers=["tokens"]),
    SearchQuery(terms=[ComponentTerm(layer="maps", index=1)], min_clarity=0.1, examples=30),
    SearchQuery(terms=[ComponentTerm(layer="tokens", index=0, sign=-1)], min_score=0.1, examples=0),
]


def test_twenty_who_ask_a_cold_service_at_once_are_told_what_one_is_told(built):
    alone = built.fresh_service()
    told = [alone.search(CALLER, built.snapshot, query).model_dump_json() for query in QUERIES]
    cold, ready = built.fresh_service(), threading.Barrier(20)

    def ask(first: int) -> list[str]:
        ready.wait(timeout=20)
        turned = QUERIES[first:] + QUERIES[:first]
        answers = [cold.search(CALLER, built.snapshot, query).model_dump_json() for query in turned]
        return answers[len(QUERIES) - first :] + answers[: len(QUERIES) - first]

    with ThreadPoolExecutor(20) as pool:
        for answers in pool.map(ask, [number % len(QUERIES) for number in range(20)]):
            assert answers == told


@pytest.mark.parametrize("query", QUERIES)
def test_hits_made_without_validation_are_valid_and_are_written_as_validated_ones(built, query):
    hits = built.service.search(CALLER, built.snapshot, query)
    text = hits.model_dump_json()
    again = SearchHits.model_validate_json(text)
    assert again == hits
    assert again.model_dump_json() == text
    json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} left the service"))


@pytest.mark.parametrize("layer", [MAPS, TOKENS], ids=lambda layer: layer.name)
def test_every_component_page_is_finite_and_valid(built, layer):
    for sign in (1, -1) if layer.signed else (1,):
        for index in range(layer.width):
            page = built.service.component(CALLER, built.snapshot, layer.name, index, sign)
            text = page.model_dump_json()
            assert ComponentDetail.model_validate_json(text) == page
            assert json.dumps(json.loads(text), allow_nan=False)
            assert sum(page.histogram.counts) == built.n
            shares = [prototype.share for prototype in page.prototypes]
            assert (sum(shares) == pytest.approx(1)) if page.component.state == "ok" else not shares


def test_listings_and_snapshots_are_read_back_as_they_were(built):
    listed = built.service.components(CALLER, built.snapshot)
    assert Page[Component].model_validate_json(listed.model_dump_json()) == listed
    snapshot = built.service.snapshot(CALLER, built.snapshot)
    assert Snapshot.model_validate_json(snapshot.model_dump_json()) == snapshot


def test_a_picture_sent_along_finds_what_a_sample_of_its_concept_finds(built):
    hits = built.service.search(
        CALLER, built.snapshot, SearchQuery(terms=[_sent(png(picture(2, 9999)))], layers=["maps"], k=1)
    ).hits
    assert [hit.component.index for hit in hits] == [2]


def test_a_picture_that_is_none_is_refused(built):
    with pytest.raises(UnsafePicture):
        built.service.search(CALLER, built.snapshot, SearchQuery(terms=[_sent(b"GIF89a nothing")]))


def test_a_picture_is_refused_where_the_encoder_is_another_one(built):
    service = built.fresh_service(PlantedEncoder(checkpoint=b"another"))
    for term in (_sent(png(picture(1, 1))), SampleTerm(sample=0), TextTerm(text="cat")):
        with pytest.raises(EncoderMismatch):
            service.search(CALLER, built.snapshot, SearchQuery(terms=[term]))
    own_vector = SearchQuery(terms=[ComponentTerm(layer="maps", index=0)], k=3)
    assert len(service.search(CALLER, built.snapshot, own_vector).hits) == 3  # no encoder is needed for these


def test_a_cursor_that_nobody_gave_out_is_refused(built):
    for cursor in ("", "x", "AAAA", "bnVsbA", "W10"):
        with pytest.raises(InvalidRequest):
            built.service.components(CALLER, built.snapshot, cursor=cursor)
        with pytest.raises(InvalidRequest):
            built.service.snapshots(CALLER, cursor=cursor)


@pytest.mark.parametrize("place", [["x", "y"], [1, 2], ["2026-01-01", "y"], ["2026-01-01T00:00:00+00:00", None]])
def test_a_cursor_of_places_that_no_snapshot_has_is_refused(built, place):
    with pytest.raises(InvalidRequest):
        built.service.snapshots(CALLER, cursor=encode_cursor(place))


@pytest.mark.parametrize("place", [["component", "", -5], ["component", "", 1.5], ["component", "", None], [[], {}, 1]])
def test_a_cursor_of_places_that_no_component_has_is_refused(built, place):
    with pytest.raises(InvalidRequest):
        built.service.components(CALLER, built.snapshot, cursor=encode_cursor(place))


@pytest.mark.parametrize("size", [1e-300, 1e-5, 1e5, 1e300, 1.7e308])
def test_only_proportions_of_weights_matter_whatever_their_size(built, size):
    def scores(weight: float) -> list[float]:
        terms = [TextTerm(text="cat", weight=weight), TextTerm(text="sky", weight=-weight / 2)]
        return [hit.score for hit in built.service.search(CALLER, built.snapshot, SearchQuery(terms=terms)).hits]

    assert scores(size) == pytest.approx(scores(1.0), abs=1e-6)


def test_weights_that_are_all_zero_are_no_query(built):
    with pytest.raises(EmptyPrompt):
        built.service.search(CALLER, built.snapshot, SearchQuery(terms=[TextTerm(text="cat", weight=0.0)]))


def _sent(data: bytes) -> PictureTerm:
    """A picture as it arrives in JSON."""
    import base64

    return PictureTerm.model_validate({"kind": "picture", "picture": base64.b64encode(data).decode()})
