"""Features of images, in batches; and those of images that stay the same, computed once a machine.

An entry of the cache is named by all that it depends on: every pixel, the extractor, its layer, weights and resize, and
the kind of device. It is written whole or not at all, and holds a hash of itself.
"""

import hashlib
import io
import json
import os
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import UserError
from pipeline.metrics.extractors import LIBRARY, Extractor

# Raised where entries of earlier versions must not be read.
VERSION = "features 1"


@torch.no_grad()
def extract(extractor: Extractor, batches: Iterable[Tensor], device: torch.device) -> Tensor:
    """8-bit images (B, 3, H, W), batch by batch -> features (N, D) in float32 on the CPU.

    Raises UserError for features that are not finite, which only broken weights give.
    """
    # Fetched at the end, so that a GPU need not wait between batches.
    with extractor.on(device), in_float32():
        features = torch.cat([extractor(batch.to(device)) for batch in batches]).cpu()
    if not features.isfinite().all():
        raise UserError(
            f"{extractor.name} (weights {extractor.weights}): features that are not finite; fetch its weights again"
        )
    return features


def in_float32() -> AbstractContextManager[None]:
    """Convolutions without TF32, a GPU's default, which would give scores of its own."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def in_batches(images: NDArray[np.uint8 | np.uint16], size: int) -> Iterable[Tensor]:
    """An array of images as tensors of up to `size` images."""
    return (torch.from_numpy(np.array(images[first : first + size])) for first in range(0, len(images), size))


def cached_features(
    extractor: Extractor, images: NDArray[np.uint8], cache: Path, batch_size: int, device: torch.device
) -> Tensor:
    """The features (N, D) of 8-bit images (N, 3, H, W), from the cache, else computed and put there.

    Of several processes that ask at once one computes and the others wait for it. An entry that is torn, or that
    another version wrote, is said to be and made anew.
    """
    place = cache / "features" / f"{_name(extractor, images, device)}.features"
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.with_suffix(".lock")):
        if place.exists():
            if (kept := _read(place)) is not None:
                return kept
            print(f"{place}: torn, or written by another version; computing these features anew", file=sys.stderr)
        features = extract(extractor, in_batches(images, batch_size), device)
        _write(place, features)
        return features


def _name(extractor: Extractor, images: NDArray[np.uint8], device: torch.device) -> str:
    by = [extractor.name, extractor.layer, extractor.weights, extractor.resize, LIBRARY]
    made_by = [*by, device.type, images.shape]  # a GPU rounds otherwise
    whole = hashlib.sha256(json.dumps(made_by).encode())
    for image in images:
        whole.update(image.tobytes())
    return whole.hexdigest()[:16]


def _write(place: Path, features: Tensor) -> None:
    body = io.BytesIO()
    np.save(body, features.numpy())
    partial = place.with_suffix(f".{os.getpid()}.partial")
    partial.write_bytes(_head(body.getvalue()) + body.getvalue())
    partial.rename(place)


def _read(place: Path) -> Tensor | None:
    head, newline, body = place.read_bytes().partition(b"\n")
    if head + newline != _head(body):
        return None
    return torch.from_numpy(np.load(io.BytesIO(body)))


def _head(body: bytes) -> bytes:
    return f"{VERSION} {hashlib.sha256(body).hexdigest()}\n".encode()
