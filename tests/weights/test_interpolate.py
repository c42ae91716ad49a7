"""Position embeddings at another resolution."""

import pytest
import torch

from r2d2.errors import R2D2Error
from r2d2.weights.interpolate import resize_positions, square_grid


def cubic(x, a=-0.75):
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def naive(table, old, new):
    """Bicubic by loops: the centre of each new patch, 4 x 4 old patches around it, edges held."""
    rows, columns = old
    grid = table[1:].view(rows, columns, -1)
    out = [table[0]]
    for i in range(new[0]):
        for j in range(new[1]):
            y, x = (i + 0.5) * rows / new[0] - 0.5, (j + 0.5) * columns / new[1] - 0.5
            total = torch.zeros_like(table[0])
            for k in range(int(y // 1) - 1, int(y // 1) + 3):
                for m in range(int(x // 1) - 1, int(x // 1) + 3):
                    held = grid[min(max(k, 0), rows - 1), min(max(m, 0), columns - 1)]
                    total += cubic(y - k) * cubic(x - m) * held
            out.append(total)
    return torch.stack(out)


@pytest.mark.parametrize(
    ("old", "new"), [((4, 4), (7, 7)), ((4, 4), (3, 3)), ((2, 5), (6, 3)), ((3, 3), (3, 8))]
)
def test_equals_the_naive_bicubic(old, new):
    table = torch.randn(1 + old[0] * old[1], 3, dtype=torch.float64)
    torch.testing.assert_close(resize_positions(table, new, old), naive(table, old, new))


def test_the_same_grid_is_the_same_table():
    table = torch.randn(17, 3)
    assert torch.equal(resize_positions(table, (4, 4)), table)


def test_the_class_token_stays_and_flat_stays_flat():
    table = torch.cat([torch.full((1, 2), 9.0), torch.full((9, 2), 2.0)])
    resized = resize_positions(table, (5, 4))
    assert resized.shape == (21, 2)
    assert torch.equal(resized[0], table[0])
    torch.testing.assert_close(resized[1:], torch.full((20, 2), 2.0))


@pytest.mark.parametrize("rows", [0, 1, 3, 4, 16, 18, 257 - 1])
def test_no_square(rows):
    with pytest.raises(R2D2Error, match="no \\[CLS\\] and a square"):
        square_grid(rows)


@pytest.mark.parametrize("rows", [2, 5, 17, 257])
def test_a_square(rows):
    side = square_grid(rows)[0]
    assert 1 + side * side == rows


def test_a_grid_that_is_not_the_tables():
    with pytest.raises(R2D2Error, match="are not \\[CLS\\] and 2 x 9"):
        resize_positions(torch.zeros(17, 2), (4, 4), (2, 9))
