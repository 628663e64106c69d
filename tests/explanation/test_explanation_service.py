import numpy as np
import pytest

from contracts.errors import (
    BadTemplate,
    Conflict,
    CorruptArtifact,
    EmptyPrompt,
    EncoderMismatch,
    InsufficientEvidence,
    InvalidRequest,
    NoTextSide,
    UnknownComponent,
    UnknownLayer,
    UnknownSample,
    UnknownSnapshot,
    UnsafePicture,
)
from contracts.explanation import ComponentTerm, PictureTerm, SampleTerm, SearchQuery, TextTerm
from services.kit.arrays import load_arrays
from tests.explanation.planted import (
    CALLER,
    CONCEPTS,
    STRANGER,
    Bench,
    N,
    PlantedEncoder,
    concepts_of,
    picture,
    png,
)  # fmt: skip


def text(word: str, weight: float = 1.0) -> TextTerm:
    return TextTerm(text=word, weight=weight)


def search(bench: Bench, *terms, snapshot: str = "colours", **options):
    return bench.service.search(CALLER, snapshot, SearchQuery(terms=list(terms), **options)).hits


def named(hit) -> tuple[str, int, int]:
    return hit.component.layer, hit.component.index, hit.component.sign


def encoded(image) -> PictureTerm:
    import base64

    return PictureTerm(picture=base64.b64encode(png(image)))


# --- search ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("concept", range(5), ids=CONCEPTS)
def test_a_text_finds_the_component_that_was_planted_for_it(built, concept):
    hits = search(built, text(CONCEPTS[concept]), layers=["maps"], k=3)
    assert concept in {hits[0].component.index, hits[1].component.index}
    own = next(hit for hit in hits if hit.component.index == concept)
    assert own.score > 0.8
    assert own.z > 1


def test_the_two_sides_of_a_component_mean_different_things(built):
    assert ("tokens", 0, 1) in {named(hit) for hit in search(built, text("cat"), k=3)}
    assert ("tokens", 0, -1) in {named(hit) for hit in search(built, text("sky"), k=5)}


def test_a_hit_shows_the_examples_of_the_prototype_that_was_hit(built):
    shown = concepts_of(N)
    for word in ("cat", "clock"):
        hit = next(hit for hit in search(built, text(word), layers=["maps"]) if hit.component.index == 5)
        assert {CONCEPTS[shown[example.sample]] for example in hit.examples} == {word}
        assert {example.label for example in hit.examples} == {word}


def test_hits_come_by_score_and_nothing_without_a_vector_is_among_them(built):
    hits = search(built, text("stripe"), k=1000)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert not {("maps", 6, 1), ("maps", 7, 1)} & {named(hit) for hit in hits}
    assert len(hits) == 7 + 6
    assert all(example.sample >= 0 for hit in hits for example in hit.examples)


def test_scores_equal_cosines_with_the_vectors(built):
    rows = load_arrays(built.blobs.open(built.blob("index/rows")))
    hits = search(built, ComponentTerm(layer="maps", index=2), k=1000)
    query = built.service.vectors(CALLER, "colours", "maps")["vectors"][2].astype(np.float64)
    for hit in hits:
        layer, index, sign = named(hit)
        row = index if sign > 0 else 3 + index
        mine = (rows["layer"] == ["maps", "tokens"].index(layer)) & (rows["row"] == row)
        assert hit.score == pytest.approx((rows["rows"][mine] @ query).max(), abs=1e-6)


def test_a_component_is_not_like_itself(built):
    hits = search(built, ComponentTerm(layer="tokens", index=0, sign=-1), k=1000)
    assert ("tokens", 0, -1) not in {named(hit) for hit in hits}
    assert named(hits[0]) in {("maps", 3, 1), ("tokens", 2, 1), ("tokens", 2, -1), ("maps", 8, 1)}


def test_pictures_find_what_reacts_to_them(built):
    shown = concepts_of(N)
    sample = int(np.flatnonzero(shown == 4)[0])
    for term in (SampleTerm(sample=sample), encoded(picture(4, 10_000))):
        assert ("maps", 4, 1) in {named(hit) for hit in search(built, term, k=2)}


def test_terms_mix_by_weight(built):
    both = search(built, text("cat"), text("clock"), layers=["maps"], k=7)
    assert {hit.component.index for hit in both[:3]} == {0, 1, 5}
    without = search(built, text("cat"), text("clock", -2.0), layers=["maps"], k=7)
    assert [hit.component.index for hit in without][-1] in {1, 5}


def test_filters_leave_exactly_what_they_name(built):
    every = search(built, text("cat"), k=1000)
    for field, value in [("min_z", 0.5), ("min_score", 0.5), ("min_clarity", 0.6)]:
        kept = [named(hit) for hit in every if getattr(hit, field.removeprefix("min_")) >= value]
        assert 0 < len(kept) < len(every)
        assert [named(hit) for hit in search(built, text("cat"), k=1000, **{field: value})] == kept
    assert [named(hit) for hit in search(built, text("cat"), k=1000, layers=["tokens"])] == [
        named(hit) for hit in every if hit.component.layer == "tokens"
    ]


def test_z_is_that_of_the_stored_nulls(built):
    """z_random by random sets, z by median and deviation of the background's scores: recomputed from the files."""
    nulls = load_arrays(built.blobs.open(built.blob("nulls")))
    rows = load_arrays(built.blobs.open(built.blob("index/rows")))
    query = built.service.vectors(CALLER, "colours", "maps")["vectors"][3].astype(np.float64)
    hit = search(built, ComponentTerm(layer="maps", index=3), layers=["maps"], k=1000)[0]
    place = int(np.flatnonzero((rows["layer"] == 0) & (rows["row"] == hit.component.index)
                               & (rows["prototype"] == hit.prototype))[0])  # fmt: skip
    sizes = [size for size in nulls["sizes"].tolist() if size <= rows["size"][place]] or [5]
    bank = nulls[f"bank/{sizes[-1]}"].astype(np.float64) @ query
    assert hit.z_random == pytest.approx((hit.score - bank.mean()) / bank.std(), rel=1e-3)
    whole = nulls["bank/12"].astype(np.float64)
    against = nulls["image/directions"].astype(np.float64)
    scored = whole @ against.T
    background = (rows["rows"][place] @ against.T - scored.mean(0)) / scored.std(0)
    mine = (hit.score - (whole @ query).mean()) / (whole @ query).std()
    spread = 1.4826 * np.median(np.abs(background - np.median(background)))
    assert hit.z == pytest.approx((mine - np.median(background)) / spread, rel=1e-3)


def test_asking_again_encodes_nothing(own):
    search(own, text("cat"))
    before = own.encoder.texts_encoded
    first, again = search(own, text("cat")), search(own, text("cat"), k=3)
    assert own.encoder.texts_encoded == before
    assert first[:3] == again


def test_own_templates_are_used_and_checked(built):
    assert named(search(built, text("letter"), templates=["what a {} this is"], k=1)[0]) in {
        ("maps", 4, 1), ("tokens", 1, -1), ("tokens", 2, 1), ("tokens", 2, -1),
    }  # fmt: skip
    with pytest.raises(BadTemplate):
        search(built, text("letter"), templates=["no place"])


def test_a_text_that_was_cut_is_told(built):
    long = "cat " * 9
    query = SearchQuery(terms=[text(long), text("sky")])
    assert built.service.search(CALLER, "colours", query).truncated_texts == [long]


@pytest.mark.parametrize(
    ("term", "refusal"),
    [
        (text("   "), EmptyPrompt),
        (ComponentTerm(layer="maps", index=6), InsufficientEvidence),
        (ComponentTerm(layer="maps", index=7), InsufficientEvidence),
        (ComponentTerm(layer="maps", index=9), UnknownComponent),
        (ComponentTerm(layer="maps", index=0, sign=-1), UnknownComponent),
        (ComponentTerm(layer="mops", index=0), UnknownLayer),
        (SampleTerm(sample=N), UnknownSample),
        (PictureTerm(picture=b"bm90IGEgcGljdHVyZQ=="), UnsafePicture),
    ],
    ids=["empty", "dead", "insufficient", "index", "sign", "layer", "sample", "picture"],
)
def test_what_cannot_be_asked_is_refused_by_name(built, term, refusal):
    with pytest.raises(refusal):
        search(built, term)


def test_a_term_and_its_opposite_are_refused(built):
    with pytest.raises(EmptyPrompt):
        search(built, text("cat"), text("cat", -1.0))


def test_an_unknown_layer_names_the_closest(built):
    with pytest.raises(UnknownLayer) as refusal:
        search(built, text("cat"), layers=["mapz"])
    assert refusal.value.facts["closest"][0] == "maps"


def test_an_encoder_without_texts_refuses_text_and_takes_pictures(tmp_path):
    bench = Bench(tmp_path, PlantedEncoder(text=False), n=100)
    bench.prepare()
    bench.build(name="colours")
    with pytest.raises(NoTextSide):
        search(bench, text("cat"))
    hits = search(bench, encoded(picture(2, 10_000)), k=3)
    assert ("maps", 2, 1) in {named(hit) for hit in hits}
    assert search(bench, ComponentTerm(layer="maps", index=0), k=3)


def test_another_checkpoint_of_the_encoder_is_refused_where_it_is_needed(own):
    service = own.fresh_service(PlantedEncoder(checkpoint=b"retrained"))
    with pytest.raises(EncoderMismatch):
        service.search(CALLER, "colours", SearchQuery(terms=[text("cat")]))
    assert service.search(CALLER, "colours", SearchQuery(terms=[ComponentTerm(layer="maps", index=0)])).hits


# --- components -----------------------------------------------------------------------------------
def test_a_component_page_shows_highest_and_lowest_with_their_activations(built):
    page = built.service.component(CALLER, "colours", "tokens", 0, -1)
    activation = [example.activation for example in page.examples]
    assert activation == sorted(activation)  # the negative side: most negative first
    assert activation[0] < 0 < page.lowest[0].activation
    assert page.component.minimum == pytest.approx(activation[0])
    assert sum(page.histogram.counts) == N
    assert len(page.histogram.edges) == len(page.histogram.counts) + 1
    assert {example.label for example in page.examples} == {"sky"}


def test_a_component_page_has_prototypes_and_neighbours(built):
    page = built.service.component(CALLER, "colours", "maps", 5)
    shown = concepts_of(N)
    meanings = [{int(shown[page.examples[m].sample]) for m in one.members} for one in page.prototypes[:2]]
    assert meanings in ([{0}, {1}], [{1}, {0}])
    assert sum(one.share for one in page.prototypes) == pytest.approx(1)
    assert {(near.component.layer, near.component.index) for near in page.nearest[:4]} >= {("maps", 0), ("maps", 1)}
    assert ("maps", 5) not in {(near.component.layer, near.component.index) for near in page.nearest}


@pytest.mark.parametrize(("index", "state"), [(6, "dead"), (7, "insufficient_evidence")])
def test_a_component_without_evidence_has_a_page_but_no_metric(built, index, state):
    page = built.service.component(CALLER, "colours", "maps", index)
    assert page.component.state == state
    assert page.component.clarity is page.component.polysemanticity is page.component.redundancy is None
    assert page.nearest == page.prototypes == []


def test_listing_pages_through_every_component_once(built):
    seen, cursor = [], None
    while True:
        page = built.service.components(CALLER, "colours", limit=4, cursor=cursor)
        seen += [(c.ref.layer, c.ref.index, c.ref.sign) for c in page.items]
        cursor = page.next
        if cursor is None:
            break
    expected = [("maps", i, 1) for i in range(9)] + [("tokens", i, s) for s in (1, -1) for i in range(3)]
    assert seen == expected


@pytest.mark.parametrize("sort", ["clarity", "polysemanticity", "redundancy"])
def test_listing_sorts_from_high_to_low_and_unmeasured_last(built, sort):
    items = built.service.components(CALLER, "colours", sort=sort, limit=200).items
    values = [getattr(item, sort) for item in items]
    assert values[-2:] == [None, None]
    assert values[:-2] == sorted(values[:-2], reverse=True)


def test_a_cursor_of_another_listing_is_refused(built):
    cursor = built.service.components(CALLER, "colours", sort="clarity", limit=2).next
    with pytest.raises(InvalidRequest):
        built.service.components(CALLER, "colours", sort="component", cursor=cursor)
    with pytest.raises(InvalidRequest):
        built.service.components(CALLER, "colours", cursor="nonsense")


def test_vectors_are_delivered_with_zeros_where_there_is_none(built):
    delivered = built.service.vectors(CALLER, "colours", "tokens")
    assert delivered["sign"].tolist() == [1, 1, 1, -1, -1, -1]
    maps = built.service.vectors(CALLER, "colours", "maps")["vectors"]
    np.testing.assert_allclose(np.linalg.norm(maps, axis=1), [1, 1, 1, 1, 1, 1, 0, 0, 1], atol=1e-6)


# --- snapshots ------------------------------------------------------------------------------------
def test_a_snapshot_is_found_by_id_and_by_name_and_by_nobody_else(built):
    by_name, by_id = (built.service.snapshot(CALLER, key) for key in ("colours", built.snapshot))
    assert by_name == by_id
    assert by_id.id.startswith("s_")
    assert by_id.lineage.startswith(by_id.id[2:])
    for service_call in (built.service.snapshot, built.service.components, built.service.check):
        with pytest.raises(UnknownSnapshot):
            service_call(STRANGER, built.snapshot)
    assert built.service.snapshots(STRANGER).items == []


def test_layers_sum_their_components_up(built):
    maps, tokens = built.service.snapshot(CALLER, "colours").layers
    assert (maps.width, maps.components, maps.dead, maps.insufficient_evidence) == (9, 7, 1, 1)
    assert (tokens.width, tokens.components, tokens.signed) == (3, 6, True)
    assert maps.clarity_null == tokens.clarity_null
    assert maps.clarity_mean > maps.clarity_null


def test_an_id_wins_over_a_name_that_looks_like_it(own):
    own.publish(name=own.snapshot, seed=2)
    assert own.service.snapshot(CALLER, own.snapshot).name == "colours"


def test_snapshots_are_listed_newest_first_in_pages(own):
    own.publish(name="second", seed=1)
    own.publish(name=None, seed=2)
    first = own.service.snapshots(CALLER, limit=2)
    rest = own.service.snapshots(CALLER, limit=2, cursor=first.next)
    names = [snapshot.name for snapshot in first.items + rest.items]
    assert names[1:] == ["second", "colours"]
    assert names[0].startswith("toy on colours ")
    assert rest.next is None


def test_a_name_that_another_snapshot_has_is_a_conflict_and_the_same_one_again_is_none(own):
    own.publish(name="colours", seed=0)
    with pytest.raises(Conflict):
        own.publish(name="colours", seed=1)
    assert [snapshot.id for snapshot in own.service.snapshots(CALLER).items] == [own.snapshot]


def test_a_name_moves_to_the_newest_result_of_the_same_request_and_the_older_one_stays_reachable(own):
    newer = own.publish(name="colours", seed=0, version=2)
    assert own.service.snapshot(CALLER, "colours").id == newer
    assert own.service.snapshot(CALLER, own.snapshot).name == f"colours {own.snapshot}"
    assert own.service.snapshot(CALLER, f"colours {own.snapshot}").id == own.snapshot


def test_check_names_what_is_damaged_and_what_answers_from_it_is_refused(own):
    assert own.service.check(CALLER, "colours").damaged == []
    path = own.blobs.path(own.blob("vectors/maps"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    service = own.fresh_service()
    with pytest.raises(CorruptArtifact):
        service.component(CALLER, "colours", "maps", 0)
    assert service.check(CALLER, "colours").damaged == [own.key("vectors/maps")]


@pytest.mark.parametrize("role", ["index/index", "index/rows", "index/manifest", "nulls", "manifest"])
def test_a_flipped_byte_anywhere_is_never_an_answer(own, role):
    path = own.blobs.path(own.blob(role))
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptArtifact):
        own.fresh_service().search(CALLER, "colours", SearchQuery(terms=[text("cat")]))


def test_an_index_that_its_manifest_does_not_describe_is_refused(own):
    other = own.blobs.put(own.blobs.read(own.blob("index/index")) + b"x")
    own.record("index/index", other, {})
    with pytest.raises(CorruptArtifact, match="manifest"):
        own.fresh_service().search(CALLER, "colours", SearchQuery(terms=[text("cat")]))


def test_a_request_keeps_the_generation_it_began_with(own):
    held = own.service.opened(CALLER, "colours")
    for seed in range(1, 6):
        own.publish(name=f"later {seed}", seed=seed)
        own.service.search(CALLER, f"later {seed}", SearchQuery(terms=[text("cat")]))
    assert len(held.generation) == held.snapshot.index.n


def test_the_encoder_of_the_newest_snapshot_is_warmed(own, monkeypatch):
    asked = []
    monkeypatch.setattr(own.service.encoders_in_memory, "get", lambda name: asked.append(name) or own.encoder)
    own.service._warm()
    assert asked == ["planted"]
