"""The one loop of the labels that no library has: products over the samples of each component, compiled."""

from __future__ import annotations

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

Floats = NDArray[np.float32]
GROUP = 5  # factors between 1e-7 and 500, so that a product in float32 stays finite and normal


def log_products(p: Floats, rows: NDArray[np.int64], factors: Floats, added: np.float32, out: Floats) -> None:
    """Log Π_r (added + factors_r · p[rows_cr, b]) into out [C, B].

    Groups of five factors are multiplied in float32 and the groups in float64, then there is one logarithm; 28 factors
    of 1e-7 or 100 of 500 stay within float64. Each component is computed alone, so threads change no bit; they are
    ordinary ones, since numba's own pools survive neither a fork nor two callers.

    Parameters
    ----------
    p : [R, B] float32; rows : [C, top] rows of p; factors : [top].
    """
    from torch import get_num_threads

    loop, threads = _compiled(), get_num_threads()
    bounds = np.linspace(0, len(rows), threads + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        spans = [slice(start, stop) for start, stop in itertools.pairwise(bounds)]
        list(pool.map(lambda span: loop(p, rows[span], factors, added, out[span]), spans))


@cache
def _compiled() -> Callable[..., Any]:
    import numba  # a second to import, two to compile: only for who ranks by information

    def loop(p: Any, rows: Any, factors: Any, added: Any, out: Any) -> None:
        components, top = rows.shape
        names = p.shape[1]
        for c in range(components):
            product, part = np.ones(names, np.float64), np.ones(names, np.float32)
            for start in range(0, top, GROUP):
                part[:] = 1
                for r in range(start, min(start + GROUP, top)):
                    factor, row = factors[r], p[rows[c, r]]
                    for b in range(names):
                        part[b] *= added + factor * row[b]
                for b in range(names):
                    product[b] *= part[b]
            for b in range(names):
                out[c, b] = math.log(product[b])

    return numba.njit(nogil=True)(loop)  # type: ignore[no-any-return]
