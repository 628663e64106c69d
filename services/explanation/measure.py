"""The nulls and vectors stages: place every component, divide it into prototypes, measure it against its nulls."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from contracts.snapshots import Encoder
from services.explanation.encoders.registry import EncoderCache
from services.explanation.errors import TooFewSamples
from services.explanation.semantics.clusters import gram, split_in_two
from services.explanation.semantics.embeddings import Embeddings
from services.explanation.semantics.examples import EMPTY
from services.explanation.semantics.metrics import clarity, redundancy, standardised
from services.explanation.semantics.nulls import (
    ClarityNull,
    background_moments,
    bank_moments,
    clarity_null,
    draw_sets,
    random_set_bank,
    sizes_for,
    split_null,
)
from services.explanation.semantics.queries import (
    TEMPLATES,
    background_names,
    remembering,
    template_nulls,
    text_directions,
)
from services.explanation.semantics.vectors import (
    SMALLEST_LENGTH,
    SplitNull,
    memberships,
    null_for,
    prototype_vectors,
    semantic_vectors,
)
from services.kit.arrays import load_arrays
from services.kit.stages import Work

Arrays = dict[str, np.ndarray]
OK, DEAD, INSUFFICIENT = 0, 1, 2
STATES = ("ok", "dead", "insufficient_evidence")
FEWEST_EXAMPLES = 5
FEWEST_SAMPLES = 10
CHUNK = 512


def embeddings_of(work: Work, kind: str = "embeddings") -> Embeddings:
    """The embeddings among a part's inputs, in order: of whole pictures, or of `crops`."""
    return Embeddings([work.path(role) for role in sorted(work.inputs) if role.startswith(f"{kind}/")])


def placed_in(work: Work, table: Arrays) -> tuple[Embeddings, NDArray[np.int64]]:
    """Embeddings of whole pictures, or of crops where there are any, and the place [C, k] in them of each example."""
    crops = sorted(role for role in work.inputs if role.startswith("crops/"))
    if not crops:
        return embeddings_of(work), table["ids"]
    places, first = np.full(table["ids"].shape, EMPTY, np.int64), 0
    for role in crops:
        found = load_arrays(work.path(role), ["row", "rank"])
        places[found["row"], found["rank"]] = np.arange(first, first + len(found["row"]))
        first += len(found["row"])
    return embeddings_of(work, "crops"), places


def calibrate(work: Work, encoders: EncoderCache) -> None:
    """Compute every null distribution of a dataset in an encoder's space, over crops where components are of crops.

    Image queries are whole pictures, so their background is as well.
    """
    whole = embeddings_of(work)
    embeddings = embeddings_of(work, "crops") if any(role.startswith("crops/") for role in work.inputs) else whole
    if embeddings.n < FEWEST_SAMPLES:
        raise TooFewSamples(f"{embeddings.n} pictures", field="dataset", n=embeddings.n)
    seed, sets, count = (int(work.spec[name]) for name in ("seed", "R", "background"))  # type: ignore[arg-type]
    draw = np.random.default_rng(seed)
    k = min(int(work.spec["k"]), embeddings.n)  # type: ignore[arg-type]
    moments = clarity_null(embeddings, draw)
    arrays: Arrays = {
        "clarity": np.array([moments.expected, moments.zeta1, moments.zeta2]),
        "sizes": np.array(sizes_for(k)),
    }
    for size in sizes_for(k):
        null = split_null(embeddings, size, draw)
        arrays |= {f"split_clarity/{size}": null.clarity, f"split_share/{size}": null.share}
        arrays[f"bank/{size}"] = random_set_bank(embeddings, size, sets, draw)
        work.advance(0)
    bank = arrays[f"bank/{k}"]
    pictures = draw_sets(whole.n, min(count, whole.n), 1, draw)[0]
    arrays |= _background("image", whole.rows(np.sort(pictures)), bank)
    encoder = Encoder.model_validate(work.spec["encoder"])
    if encoder.text:
        port = encoders.get(encoder.name)
        names = background_names(count)
        encode = remembering(port.encode_texts)  # the null and the directions of the background share their texts
        nulls = template_nulls(encode, TEMPLATES, null=encoder.null, background=names)
        directions = text_directions(encode, names, templates=TEMPLATES, nulls=nulls)
        arrays |= _background("text", directions, bank) | {"template_nulls": nulls}
    work.emit_arrays("nulls", arrays, {"k": k, "seed": seed, "templates": list(TEMPLATES)})
    work.advance(1)


def _background(kind: str, directions: np.ndarray, bank: np.ndarray) -> Arrays:
    mean, deviation = bank_moments(bank, directions)
    return {f"{kind}/directions": directions, f"{kind}/mean": mean, f"{kind}/deviation": deviation}


def place_and_measure(work: Work) -> None:
    """Semantic vectors, prototypes and metrics of one layer."""
    table, nulls = work.arrays("examples"), work.arrays("nulls")
    embeddings, places = placed_in(work, table)
    width = nulls["image/directions"].shape[1]
    measured = Measured(len(table["ids"]), int(width), table["ids"].shape[1])
    state = np.where(table["dead"], DEAD, np.where(table["n_valid"] < FEWEST_EXAMPLES, INSUFFICIENT, OK))
    for rows, n in _by_evidence(state, table["n_valid"]):
        measured.add(rows, embeddings.rows(places[rows, :n]), nulls, seed=int(work.spec["seed"]))  # type: ignore[arg-type]
        work.advance(len(rows))
    measured.finish(state, table["index"], nulls)
    work.emit_arrays("vectors", measured.arrays)


def _by_evidence(state: NDArray[np.int64], n_valid: NDArray[np.int32]) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Groups of components that have the same number of valid examples, in chunks."""
    for n in np.unique(n_valid[state == OK]):
        rows = np.flatnonzero((state == OK) & (n_valid == n))
        for start in range(0, len(rows), CHUNK):
            yield rows[start : start + CHUNK], int(n)


class Measured:
    """The growing result for one layer; NaN and zero rows stand where nothing was measured."""

    def __init__(self, components: int, width: int, k: int) -> None:
        nothing = np.full(components, np.nan, np.float32)
        names = ("clarity", "clarity_z", "share", "share_z", "redundancy")
        self.arrays: Arrays = {name: nothing.copy() for name in names}
        self.arrays["unit"] = np.zeros((components, width), np.float32)
        self.arrays["length"] = np.zeros(components, np.float32)
        self.arrays["members"] = np.full((components, k), EMPTY, np.int8)
        self.arrays["redundancy_partner"] = np.full(components, EMPTY, np.int64)
        self._rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, rows: NDArray[np.int64], examples: NDArray[np.float32], nulls: Arrays, *, seed: int) -> None:
        """Measure components that have equally many valid examples: examples [C, n, d]."""
        n = examples.shape[1]
        splits = {
            int(size): SplitNull(nulls[f"split_clarity/{size}"], nulls[f"split_share/{size}"])
            for size in nulls["sizes"]
        }
        null = null_for(splits, n)
        unit, length = semantic_vectors(examples)
        clear = clarity(examples)
        grams = gram(examples)
        split = split_in_two(grams, seed=seed)
        chance = ClarityNull(*(float(moment) for moment in nulls["clarity"]))
        deviation = chance.deviation(np.full(len(rows), n))
        values = {
            "clarity": clear,
            "clarity_z": (clear - chance.expected) / np.where(deviation > 0, deviation, np.nan),
            "share": split.share,
            "share_z": standardised(split.share, clear, null.clarity, null.share),
            "length": length,
        }
        for name, column in values.items():
            self.arrays[name][rows] = column
        self.arrays["unit"][rows] = np.where(length[:, None] >= SMALLEST_LENGTH, unit, 0)
        numbers = memberships(grams, split, clear, splits, seed=seed)
        self.arrays["members"][rows, :n] = numbers
        vectors, component, prototype = prototype_vectors(examples, numbers)
        self._rows.append((vectors, rows[component], prototype))

    def finish(self, state: NDArray[np.int64], index: NDArray[np.int32], nulls: Arrays) -> None:
        """Join the prototypes' rows, and what needs all components at once."""
        arrays = self.arrays
        good = np.flatnonzero((state == OK) & (arrays["length"] >= SMALLEST_LENGTH))
        arrays["state"] = np.where((state == OK) & (arrays["length"] < SMALLEST_LENGTH), INSUFFICIENT, state).astype(
            np.uint8
        )
        if len(good) >= 2:
            nearest, partner = redundancy(arrays["unit"][good])
            arrays["redundancy"][good], arrays["redundancy_partner"][good] = nearest, good[partner]
        width = arrays["unit"].shape[1]
        empty = (np.zeros((0, width), np.float32), np.zeros(0, np.int64), np.zeros(0, np.int8))
        vectors, component, prototype = (
            np.concatenate(pieces) for pieces in zip(*(self._rows or [empty]), strict=True)
        )
        order = np.lexsort((prototype, component))
        order = order[arrays["length"][component[order]] >= SMALLEST_LENGTH]
        arrays |= {"row_vectors": vectors[order], "row_component": component[order], "row_prototype": prototype[order]}
        for kind in ("text", "image"):
            if f"{kind}/directions" in nulls:
                moments = (nulls[f"{kind}/{name}"] for name in ("directions", "mean", "deviation"))
                median, spread = background_moments(arrays["row_vectors"], *moments)
                arrays |= {f"{kind}_median": median, f"{kind}_spread": spread}
        self.arrays = arrays
