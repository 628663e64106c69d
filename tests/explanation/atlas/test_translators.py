"""Golden and property tests of the translators; the small example is worked out by hand in the specification."""

from itertools import permutations

import numpy as np
import pytest

from contracts.atlas import TooFewPositives, UnknownTranslator, WindowMismatch
from contracts.errors import NonFiniteActivation
from contracts.language import NoTokens
from contracts.steering import WidthMismatch
from services.explanation.atlas.nonlinear import affine_pad, knn, relative
from services.explanation.atlas.statistics import Origin, PairStatistics, collect, prefixes
from services.explanation.atlas.translators import (
    correlation,
    covariance,
    fitted,
    lens,
    polar_factor,
    procrustes,
    ridges,
)

X = np.array([[1, 0], [0, 1], [1, 1], [2, 0]], float)
C = np.array([[1, 0, 0], [0, 2, 0], [1, 1, 0], [2, 0, 1]], float)


@pytest.fixture(scope="module")
def planted():
    """Two models that see the same 40 concepts through different random maps."""
    draw = np.random.default_rng(7)
    concepts = draw.random((900, 40)) * (draw.random((900, 40)) < 0.15)
    x = concepts @ draw.normal(size=(40, 16)) + 0.05 * draw.normal(size=(900, 16))
    return x + 3, concepts


def test_covariance_correlation_ridge_and_procrustes_give_the_golden_matrices():
    stats = collect(X, C)
    assert covariance(stats).matrix == pytest.approx(
        np.array([[0.6666667, -0.6666667, 0.3333333], [-0.3333333, 0.5, -0.1666667]]), abs=1e-7
    )
    assert correlation(stats).matrix == pytest.approx(
        np.array([[1, -0.8528029, 0.8164966], [-0.7071068, 0.9045340, -0.5773503]]), abs=1e-7
    )
    assert ridges(stats, [0.1])[0].matrix == pytest.approx(
        np.array([[0.8828523, -0.5432937, 0.4414261], [-0.1018676, 0.8319185, -0.0509338]]), abs=1e-7
    )
    op = procrustes(stats)
    assert op.matrix == pytest.approx(
        np.array([[0.9804716, 0.0027500, 0.1966416], [0.0101829, 0.9978510, -0.0647273]]), abs=1e-7
    )
    assert op.rank == 2
    assert op.matrix @ op.matrix.T == pytest.approx(np.eye(2), abs=1e-14)
    assert lens(X, C, k=2).matrix == pytest.approx(np.array([[1.5, 0, 0.5], [0.5, 1.5, 0]]))


@pytest.mark.parametrize("shape", [(6, 11), (11, 6), (8, 8)])
def test_the_polar_factor_over_the_smaller_side_equals_that_of_the_svd(shape):
    m = np.random.default_rng(1).normal(size=shape)
    u, _, v = np.linalg.svd(m, full_matrices=False)
    factor, rank = polar_factor(m)
    assert rank == min(shape)
    assert factor == pytest.approx(u @ v, abs=1e-12)


def test_a_polar_factor_of_low_rank_reports_its_rank_and_keeps_only_that_part():
    draw = np.random.default_rng(2)
    factor, rank = polar_factor(draw.normal(size=(9, 3)) @ draw.normal(size=(3, 12)))
    assert rank == 3
    assert np.linalg.svd(factor, compute_uv=False) == pytest.approx([1] * 3 + [0] * 6, abs=1e-8)


def test_shards_merge_in_any_order_and_equal_one_pass(planted):
    x, c = planted
    origin = Origin.of(x[:300], c[:300])
    shards = [collect(x[part], c[part], origin) for part in (slice(0, 300), slice(300, 301), slice(301, 900))]
    whole = collect(x, c, origin)
    for order in permutations(shards):
        merged = order[0] + order[1] + order[2]
        for name in ("gram", "cross", "m_raw", "m_ctr", "m_z", "second", "sx", "sc", "qc"):
            expected = getattr(whole, name)
            assert np.abs(getattr(merged, name) - expected).max() <= 1e-10 * np.abs(expected).max()
        assert merged.n == 900
    assert [part.n for part in prefixes(shards)] == [300, 301, 900]


def test_a_large_mean_costs_no_digits_because_the_origin_is_frozen(planted):
    x, c = planted
    far = covariance(collect(x + 1e6, c)).matrix
    assert far == pytest.approx(covariance(collect(x, c)).matrix, abs=1e-8)


def test_without_damping_ridge_is_least_squares_and_covariance_is_its_pattern(planted):
    x, c = planted
    stats = collect(x, c)
    free = ridges(stats, [0.0])[0]
    assert stats.xx @ free.matrix / (stats.n - 1) == pytest.approx(covariance(stats).matrix, abs=1e-9)


def test_rotating_the_subject_changes_lens_but_not_what_ridge_and_procrustes_read(planted):
    x, c = planted
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(16, 16)))[0]
    stats, turned = collect(x, c), collect(x @ turn, c)
    for one, other in ((ridges(stats, [0.1])[0], ridges(turned, [0.1])[0]), (procrustes(stats), procrustes(turned))):
        assert one.read(x) == pytest.approx(other.read(x @ turn), abs=1e-8)
    assert np.abs(lens(x, c).read(x) - lens(x @ turn, c).read(x @ turn)).max() > 0.1


def test_scaling_the_subject_leaves_ridge_correlation_and_procrustes_unchanged(planted):
    x, c = planted
    for make in (lambda s: ridges(s, [0.1])[0], correlation, procrustes, lambda s: procrustes(s, "z")):
        assert make(collect(x, c)).read(x) == pytest.approx(make(collect(40 * x, c)).read(40 * x), abs=1e-8)


def test_a_constant_subject_column_takes_no_part_in_standardised_maps(planted):
    x, c = planted
    held = x.copy()
    held[:, 4] = 7
    stats = collect(held, c)
    for made in (correlation(stats), ridges(stats, [0.1], standardised=True)[0]):
        assert not made.matrix[4].any()
        moved = held.copy()
        moved[:, 4] = 1e9
        assert made.read(moved) == pytest.approx(made.read(held))


def test_planted_concepts_are_read_by_every_translator_and_best_by_a_regression(planted):
    x, c = planted
    stats = collect(x[:600], c[:600])
    r = {}
    for made in [*fitted(stats, ["cov", "corr", "ridge", "ridge_z", "op", "op_ctr", "op_z"]), lens(x[:600], c[:600]),
                 knn(x[:600], c[:600]), relative(x[:600], c[:600]), affine_pad(x[:600], c[:600]),
                 affine_pad(x[:600], c[:600], orthogonal=True)]:  # fmt: skip
        read = made.read(x[600:])
        r[made.name] = np.mean([np.corrcoef(read[:, j], c[600:, j])[0, 1] for j in range(40)])
    assert all(value > 0.2 for value in r.values()), r
    assert r["ridge(rho=0.1)"] > r["lens"]
    assert r["affine_pad"] > r["affine_pad_op"]
    assert len(r) == 20


def test_anchored_windows_find_themselves_in_a_rotated_copy_of_the_model(planted):
    x, c = planted
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(16, 16)))[0]
    here, there = relative(x, c, anchors=100, k=1), relative(x @ turn, c, anchors=100, k=1)
    assert here.read(x) == pytest.approx(c)
    assert there.read(x @ turn) == pytest.approx(c)


def test_what_cannot_be_learnt_from_is_refused_with_the_place(planted):
    x, c = planted
    bad = x.copy()
    bad[17, 3] = np.inf
    with pytest.raises(NonFiniteActivation) as refusal:
        collect(bad, c)
    assert (refusal.value.field, refusal.value.facts["window"]) == ("subject", 17)
    with pytest.raises(NoTokens):
        collect(x[:0], c[:0])
    with pytest.raises(WindowMismatch):
        collect(x[:5], c[:4])
    with pytest.raises(WindowMismatch, match="origins"):
        _ = collect(x[:5], c[:5]) + collect(x[5:], c[5:])
    with pytest.raises(WidthMismatch):
        procrustes(collect(x, c)).read(x[:, :5])
    with pytest.raises(WidthMismatch):
        collect(x[:, :5], c, Origin.of(x, c))
    with pytest.raises(UnknownTranslator):
        fitted(collect(x, c), ["magic"])
    with pytest.raises(TooFewPositives):
        relative(x[:50], c[:50], anchors=51)


def test_windows_that_are_all_zero_are_counted_and_not_normalised():
    stats: PairStatistics = collect(np.vstack([X, [[0, 0]]]), np.vstack([C, [[1, 1, 1]]]))
    assert stats.skipped[0] == 1
    assert stats.m_raw == pytest.approx(collect(X, C).m_raw)
