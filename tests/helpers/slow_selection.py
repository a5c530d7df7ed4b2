"""Choices of queries, written position by position: one image, one layer, scalars only.

They are slow and follow the equations, so that fast versions can be compared with them. Feature maps z are (C, S), and
positions are numbered row by row. Of equal positions the first is taken. Exponentials are not shifted, so they must
stay within the range of float64. Sources are named owner/repository @ commit.
"""

import math
from typing import Literal

import torch
from slow_losses import Matrix, dot
from torch import Tensor

Window = Literal["global", "local"]


def attention_entries(z: Tensor, height: int, width: int, i: int, window: Window) -> list[tuple[int | None, Tensor]]:
    """A_ij = e^(z_i.z_j) / sum_j' e^(z_i.z_j'), with each j; None stands for a place outside the image.

    j is every position, or each of the 7 x 7 around i. Outside z is 0. sapphire497/query-selected-attention @ c2c5e40.
    """
    if window == "global":
        places: list[int | None] = list(range(height * width))
    else:
        places = []
        for y in range(i // width - 3, i // width + 4):
            for x in range(i % width - 3, i % width + 4):
                inside = 0 <= y < height and 0 <= x < width
                places.append(y * width + x if inside else None)
    zero = torch.zeros(len(z), dtype=z.dtype)
    raw = [torch.exp(dot(z[:, i], zero if j is None else z[:, j])) for j in places]
    total = sum(raw)
    return [(j, value / total) for j, value in zip(places, raw, strict=True)]


def attention_rows(z: Tensor, height: int, width: int, window: Window) -> Matrix:
    """A_ij for all i and j, 0 outside a local window. sapphire497/query-selected-attention @ c2c5e40."""
    rows = []
    for i in range(height * width):
        row = [torch.zeros((), dtype=z.dtype) for _ in range(height * width)]
        for j, weight in attention_entries(z, height, width, i, window):
            if j is not None:
                row[j] = weight
        rows.append(row)
    return rows


def entropy(entries: list[Tensor]) -> Tensor:
    """H = -sum_j A_j log A_j, where 0 log 0 is 0. sapphire497/query-selected-attention @ c2c5e40."""
    return -sum(A * torch.log(A) if A.item() > 0 else A * 0 for A in entries)


def lowest_entropy(z: Tensor, height: int, width: int, count: int, window: Window) -> list[int]:
    """The `count` positions i with the lowest H_i, lowest first. sapphire497/query-selected-attention @ c2c5e40."""
    entropies = []
    for i in range(height * width):
        entries = attention_entries(z, height, width, i, window)
        entropies.append(entropy([weight for _, weight in entries]).item())
    return sorted(range(height * width), key=lambda i: entropies[i])[:count]


def routed(rows: Matrix, z: Tensor, position: int) -> Tensor:
    """sum_j A_ij z_j, (C,), i = position. Nothing is behind sg. sapphire497/query-selected-attention @ c2c5e40."""
    return torch.stack([dot(torch.stack(rows[position]), z[c]) for c in range(len(z))])


def resized(scores: Tensor, height: int, width: int, position: int) -> float:
    """(1-a)(1-b) s_yx + (1-a) b s_y(x+1) + a (1-b) s_(y+1)x + a b s_(y+1)(x+1): bilinear, corners not aligned."""
    y = max(0.0, (position // width + 0.5) * scores.shape[0] / height - 0.5)
    x = max(0.0, (position % width + 0.5) * scores.shape[1] / width - 0.5)
    top, left = math.floor(y), math.floor(x)
    bottom, right = min(top + 1, scores.shape[0] - 1), min(left + 1, scores.shape[1] - 1)
    a, b = y - top, x - left
    upper = (1 - b) * scores[top][left].item() + b * scores[top][right].item()
    lower = (1 - b) * scores[bottom][left].item() + b * scores[bottom][right].item()
    return (1 - a) * upper + a * lower


def lowest_scored(scores: Tensor, height: int, width: int, candidates: list[int], count: int) -> list[int]:
    """The `count` candidates where D's resized score is lowest, lowest first. XiudingCai/EnCo-pytorch @ 0d404a7."""
    return sorted(candidates, key=lambda position: resized(scores, height, width, position))[:count]
