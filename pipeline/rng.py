"""Streams of random numbers, one for each seed and purpose."""

import hashlib

import torch


def rng_for(seed: int, *purpose: object) -> torch.Generator:
    """A stream of random numbers of its own for each seed and purpose.

    Every draw of a trial comes from such a stream named by its step, so no random state needs saving.
    """
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)
