"""Two states of the planted model on the same pictures, and a snapshot of another encoder."""

import hashlib

import numpy as np
import pytest

from services.explanation.comparison.service import Comparisons
from services.kit.arrays import save_arrays
from tests.explanation.planted import SHARD, Bench, N, PlantedEncoder, activations, concepts_of


def changed(n: int) -> dict[str, dict[str, np.ndarray]]:
    """maps: 0 and 1 change places, 2 is three times as strong, 3 reacts at random, 4 dies, 6 learns what 4 knew."""
    layers = activations(n)
    before = layers["maps"]["values"].copy()
    after = layers["maps"]["values"]
    after[:, [0, 1]] = before[:, [1, 0]]
    after[:, 2] = 3 * before[:, 2]
    after[:, 3] = np.random.default_rng(5).uniform(0.1, 1, n)
    after[:, 4], after[:, 6] = 0, before[:, 4]
    return layers


def another(bench: Bench, name: str, layers: dict[str, dict[str, np.ndarray]], *, seed: int) -> str:
    """Build one more snapshot in the same place, under keys of its own."""
    bench.key = lambda role: hashlib.sha256(f"{name} {role}".encode()).hexdigest()
    bench.prepare()
    for layer, arrays in layers.items():
        for number, start in enumerate(range(0, bench.n, SHARD)):
            path = bench.blobs.temporary("shard")
            save_arrays(path, {what: array[start : start + SHARD] for what, array in arrays.items()})
            bench.put(f"shard/{layer}/{number:05d}", path)
    return bench.build(name=name, seed=seed)


@pytest.fixture(scope="session")
def three(tmp_path_factory) -> Comparisons:
    """Snapshots `before`, `after` (the model changed), `foreign` (another encoder). Tests do not change them."""
    bench = Bench(tmp_path_factory.mktemp("three"))
    another(bench, "before", activations(N), seed=0)
    another(bench, "after", changed(N), seed=1)
    bench.encoder = PlantedEncoder(checkpoint=b"foreign")
    another(bench, "foreign", activations(N), seed=2)
    return Comparisons(bench.fresh_service())


@pytest.fixture(scope="session")
def shown() -> np.ndarray:
    """Which concept each sample shows."""
    return concepts_of(N)
