"""Compute the features of images, and cache those of images that do not change.

The key of a cache entry depends on every pixel, on the extractor's name, layer, weights and resize, on the library's
version and on the kind of device. The entry contains a hash of its content.
"""

import hashlib
import io
import json
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.cache import DamagedEntryError, cached
from pipeline.errors import UserError
from pipeline.metrics.extractors import LIBRARY, Extractor

# Increase this number if entries of earlier versions must not be read.
VERSION = "features 1"


@torch.no_grad()
def extract(extractor: Extractor, batches: Iterable[Tensor], device: torch.device) -> Tensor:
    """Turn batches of 8-bit images (B, 3, H, W) into features (N, D) in float32 on the CPU.

    Raises UserError for features that are not finite. Only broken weights cause them.
    """
    extractor.network.to(device)
    with in_float32():
        # Copied to the host at the end, so that a GPU does not wait between batches.
        features = torch.cat([extractor(batch.to(device)) for batch in batches]).cpu()
    # Between evaluations its memory is free for training.
    extractor.network.to("cpu")
    if not features.isfinite().all():
        raise UserError(
            f"{extractor.name} (weights {extractor.weights}): its features are not finite. Download its weights again"
        )
    return features


def in_float32() -> AbstractContextManager[None]:
    """Turn off TF32 for convolutions. It is a GPU's default and would change the scores."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def in_batches(images: NDArray[np.uint8 | np.uint16], size: int) -> Iterable[Tensor]:
    """Split an array of images into tensors of up to `size` images."""
    return (torch.from_numpy(np.array(images[first : first + size])) for first in range(0, len(images), size))


def cached_features(
    extractor: Extractor, images: NDArray[np.uint8], cache: Path, batch_size: int, device: torch.device
) -> Tensor:
    """Return the features (N, D) of 8-bit images (N, 3, H, W): from the cache if they are there, else computed."""

    def make(entry: Path) -> None:
        body = io.BytesIO()
        np.save(body, extract(extractor, in_batches(images, batch_size), device).numpy())
        entry.write_bytes(_header(body.getvalue()) + body.getvalue())

    network = [extractor.name, extractor.layer, extractor.weights, extractor.resize, LIBRARY]
    # GPUs round differently from CPUs.
    digest = hashlib.sha256(json.dumps([*network, device.type, images.shape]).encode())
    for image in images:
        digest.update(image.tobytes())
    return cached(cache / "features" / f"{digest.hexdigest()[:16]}.features", make, _read)


def _read(entry: Path) -> Tensor:
    header, newline, body = entry.read_bytes().partition(b"\n")
    if header + newline != _header(body):
        raise DamagedEntryError("damaged, or written by another version")
    return torch.from_numpy(np.load(io.BytesIO(body)))


def _header(body: bytes) -> bytes:
    return f"{VERSION} {hashlib.sha256(body).hexdigest()}\n".encode()
