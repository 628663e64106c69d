"""Grids: nine whole pictures in nine cells, the same pixels every time."""

import numpy as np
from PIL import Image

from services.explanation.candidates.grids import GROUND, grid_of, hash_of


def pictures(n: int, size=(30, 30)) -> list[Image.Image]:
    return [Image.new("RGB", size, (20 * place + 10, 0, 0)) for place in range(n)]


def test_pictures_lie_row_by_row_best_first():
    grid = np.asarray(grid_of(pictures(9), 96))
    assert grid.shape == (96, 96, 3)
    centres = grid[16::32, 16::32, 0]
    assert centres.ravel().tolist() == [20 * place + 10 for place in range(9)]


def test_a_tenth_picture_is_not_shown_and_missing_ones_leave_grey_cells():
    assert hash_of(grid_of(pictures(12), 96)) == hash_of(grid_of(pictures(9), 96))
    grid = np.asarray(grid_of(pictures(4), 96))
    assert tuple(grid[80, 80]) == GROUND and tuple(grid[48, 16]) == (70, 0, 0)


def test_wide_and_tall_pictures_keep_their_proportions_and_are_whole():
    wide, tall = grid_of(pictures(1, (60, 30)), 96), grid_of(pictures(1, (30, 60)), 96)
    covered = (np.asarray(wide)[:32, :32] != GROUND).any(axis=2)
    assert (covered.any(axis=0).sum(), covered.any(axis=1).sum()) == (32, 16)
    assert np.array_equal(np.asarray(wide).transpose(1, 0, 2), np.asarray(tall))


def test_the_hash_is_of_pixels_and_changes_with_order_and_size():
    noise = [Image.fromarray(np.random.default_rng(n).integers(0, 256, (40, 50, 3), dtype=np.uint8)) for n in range(3)]
    hashes = {hash_of(grid_of(noise, 96)), hash_of(grid_of(noise[::-1], 96)), hash_of(grid_of(noise, 99))}
    assert len(hashes) == 3
    assert hash_of(grid_of(noise, 96)) in hashes
