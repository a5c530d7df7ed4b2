"""Draw the two pictures of the embedded task for one image: flat colours (A) and brush strokes (B).

Both are landscapes with sky, hills, a field, a sun, houses and trees, but not the same one. They differ in their
colours and in their surface. A correct translation keeps the landscape of A and has the colours and strokes of B.
"""

import numpy as np
from numpy.typing import NDArray

SKY, FAR, NEAR, FIELD, SUN, WALL, ROOF, TREE = range(8)
# Red, green and blue of each part, in the order above.
FLAT = np.array(
    [
        *([176, 208, 236], [138, 170, 190], [122, 172, 112], [196, 206, 130]),
        *([252, 244, 196], [236, 230, 220], [176, 96, 84], [64, 120, 84]),
    ],
    dtype=float,
)
PAINTED = np.array(
    [
        *([226, 150, 62], [150, 84, 110], [92, 62, 120], [176, 128, 40]),
        *([255, 226, 110], [206, 170, 150], [140, 34, 40], [34, 48, 84]),
    ],
    dtype=float,
)
# Of strokes in radians, 0 is horizontal.
DIRECTIONS = np.array([0.1, -0.5, 0.6, 0.0, 0.8, 1.5, 0.4, 1.2])
# Relative to the shorter side of the picture.
STROKE_LENGTH, STROKE_WIDTH = 0.035, 0.009
# How often strokes cover a pixel, on average.
COVERED = 4
# The deviation of a stroke's colour, in levels (0 to 255), and of its direction in radians.
COLOUR_CHANGE, TURN = 14, 0.25


def draw_picture(size: tuple[int, int], seed: int, *, painted: bool) -> NDArray[np.uint8]:
    """Draw the picture (height, width, 3) of A, or of B (`painted`). The same seed gives the same picture."""
    rng = np.random.default_rng([seed, int(painted)])
    parts = _landscape(rng, size)
    picture = _brushed(rng, parts) if painted else _flat(parts)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _landscape(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.int64]:
    """Return the part that each pixel (H, W) shows."""
    height, width = size
    y, x = np.mgrid[:height, :width] / min(size)
    bottom, right = height / min(size), width / min(size)
    parts = np.full(size, SKY)
    parts[np.hypot(y - rng.uniform(0.12, 0.2), x - rng.uniform(0.2, 0.8) * right) < 0.075] = SUN
    for part, level in ((FAR, 0.4), (NEAR, 0.53), (FIELD, 0.72)):
        parts[y > _ridge(rng, x, level * bottom)] = part
    places = (rng.permutation(8) + rng.uniform(0.2, 0.8, 8)) / 8 * right
    for number, place in enumerate(places):
        foot = rng.uniform(0.66, 0.9) * bottom
        if number < 3:
            half, top = rng.uniform(0.06, 0.09), foot - rng.uniform(0.1, 0.14)
            parts[(abs(x - place) < half) & (y > top) & (y < foot)] = WALL
            parts[(y < top) & (y > top - 0.1) & (abs(x - place) < 1.2 * half * (y - top + 0.1) / 0.1)] = ROOF
        else:
            tall, wide = rng.uniform(0.09, 0.14), rng.uniform(0.045, 0.075)
            parts[np.hypot((y - foot + tall) / tall, (x - place) / wide) < 1] = TREE
    return parts


def _ridge(rng: np.random.Generator, x: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """Return the height of a wavy line at each x."""
    waves = (rng.uniform(0.01, 0.035) * np.sin(k * x * 4 + rng.uniform(0, 2 * np.pi)) for k in (1, 2, 3))
    return level + sum(waves, np.zeros_like(x))


def _flat(parts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return flat colours (H, W, 3) that become a little darker from top to bottom."""
    light = np.linspace(1.03, 0.93, len(parts))[:, None, None]
    return FLAT[parts] * light


def _brushed(rng: np.random.Generator, parts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return brush strokes (H, W, 3), each in the colour and direction of the part that its middle shows."""
    picture, scale = PAINTED[parts], min(parts.shape)
    length, width = STROKE_LENGTH * scale, STROKE_WIDTH * scale
    reach = int(length) + 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    framed = np.pad(picture, ((reach, reach), (reach, reach), (0, 0)))
    for _ in range(int(COVERED * parts.size / (2 * length * width))):
        row, column = rng.integers(0, parts.shape)
        part = parts[row, column]
        turn = DIRECTIONS[part] + TURN * rng.standard_normal()
        along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        coverage = np.clip(0.5 + width / 2 - abs(across), 0, 1) * (abs(along) < length / 2)
        # Bristles: thin lines along the stroke.
        coverage *= 0.75 + 0.25 * np.sin(2 * np.pi * across / (width / 2) + rng.uniform(0, 2 * np.pi))
        colour = PAINTED[part] + COLOUR_CHANGE * rng.standard_normal() + COLOUR_CHANGE / 2 * rng.standard_normal(3)
        place = framed[row : row + 2 * reach + 1, column : column + 2 * reach + 1]
        place += coverage[..., None] * (colour - place)
    return framed[reach:-reach, reach:-reach]
