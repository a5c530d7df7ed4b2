"""Random number generators, one for each seed and purpose."""

import hashlib

import torch


def rng_for(seed: int, *purpose: object) -> torch.Generator:
    """Return a new generator that depends only on the seed and the purpose.

    Each step of a trial has its own generator, so checkpoints need no random state.
    """
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)
