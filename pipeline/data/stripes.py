"""Draw the images of the embedded task: brown blobs (A) and striped blobs (B) on a mottled green background.

The same seed gives the same images. The two domains differ only in the surface of the blobs. A correct translation has
stripes where its input has a blob, and nowhere else: where the stripes must be is known, and where they are is found.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GRASS = np.array([86.0, 132.0, 62.0])
BROWN = np.array([134.0, 84.0, 48.0])
BLACK = np.array([22.0, 20.0, 22.0])
WHITE = np.array([238.0, 234.0, 226.0])


# Levels (0 to 255). The largest and the smallest colour of a black or white pixel differ by less, also where a stripe's
# edge covers half of it. Brown and green pixels differ by more.
LARGEST_COLOURFULNESS = 38


@dataclass(frozen=True)
class Pictures:
    """images (N, H, W, 3) of 8 bits, and masks (N, H, W).

    blobs: where a blob covers at least half of a pixel. ground: where it covers none.
    """

    images: NDArray[np.uint8]
    blobs: NDArray[np.bool_]
    ground: NDArray[np.bool_]


def draw_pictures(count: int, size: tuple[int, int], seed: int, *, striped: bool) -> Pictures:
    """Draw `count` images of (height, width). Each has its own random stream, so more images start alike."""
    drawn = [
        _draw(np.random.default_rng([seed, int(striped), number]), size, striped=striped) for number in range(count)
    ]
    images, coverages = zip(*drawn, strict=True)
    coverage = np.stack(coverages)
    return Pictures(np.stack(images), coverage >= 0.5, coverage == 0)


def find_striped(images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where coloured images (N, 3, H, W) are black or white (N, H, W), as only stripes are."""
    return np.ptp(images, axis=1) < LARGEST_COLOURFULNESS


def _draw(
    rng: np.random.Generator, size: tuple[int, int], *, striped: bool
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return the image (H, W, 3) and the part of each pixel that blobs cover (H, W)."""
    light = 26 * _mottle(rng, size, 8) + 14 * _mottle(rng, size, 16)
    picture = GRASS + light[..., None] * np.array([1.0, 1.1, 0.8])
    covered = np.zeros(size)
    for _ in range(rng.integers(1, 3)):
        coverage = _blob(rng, size)[..., None]
        surface = _stripes(rng, size) if striped else BROWN + 16 * _mottle(rng, size, 8)[..., None]
        picture = picture * (1 - coverage) + surface * coverage
        covered = np.maximum(covered, coverage[..., 0])
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8), covered


def _blob(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return the coverage in [0, 1] of a wobbly ellipse. Its edge is one pixel soft."""
    y, x = np.mgrid[: size[0], : size[1]] - rng.uniform(0.3, 0.7, 2)[:, None, None] * np.reshape(size, (2, 1, 1))
    turn = rng.uniform(0, np.pi)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    long, short = min(size) * rng.uniform(0.2, 0.3), min(size) * rng.uniform(0.13, 0.2)
    angle = np.arctan2(across / short, along / long)
    wobble = 1 + sum(rng.uniform(0, 0.09) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5))
    inside = wobble - np.hypot(along / long, across / short)
    return np.clip(inside * short + 0.5, 0, 1)


def _stripes(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return slightly bent black and white bands in a random direction."""
    y, x = np.mgrid[: size[0], : size[1]] / min(size)
    turn, period = rng.uniform(0, np.pi), rng.uniform(0.11, 0.14)
    phase = (x * np.cos(turn) + y * np.sin(turn)) / period + 0.12 * _mottle(rng, size, 4) + rng.uniform()
    share = np.clip(0.5 + 2.2 * np.sin(2 * np.pi * phase), 0, 1)[..., None]
    return BLACK * (1 - share) + WHITE * share


def _mottle(rng: np.random.Generator, size: tuple[int, int], cells: int) -> NDArray[np.float64]:
    """Return smooth noise in [-1, 1]: random values on a coarse grid with bilinear interpolation."""
    grid = rng.uniform(-1, 1, (cells + 1, cells + 1))
    return _stretched(_stretched(grid, size[0]).T, size[1]).T


def _stretched(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Interpolate rows (cells + 1, N) linearly to (length, N)."""
    position = np.arange(length) * (len(values) - 1) / length
    low = position.astype(int)
    share = (position - low)[:, None]
    return values[low] * (1 - share) + values[low + 1] * share
