"""Bounds of settings, and the errors for settings outside them."""

# Upper bounds refuse slips, such as a zero too many, before they cost memory and time. The paper's networks have 64
# channels, 9 blocks, 256 patches and 256 units.
MOST_CHANNELS = 1024
MOST_BLOCKS = 100
MOST_DISCRIMINATOR_LAYERS = 12
# Similarities grow with the square of the patches: 16384 patches of one image have 1 GB of them.
MOST_PATCHES = MOST_UNITS = 16_384
MOST_QUEUED = 10_000_000
MOST_POOLED = 100_000
# Of temperatures and weights of losses.
HIGHEST = 1_000_000


def require(condition: bool, message: str) -> None:
    """Raise ValueError with the message, unless the condition holds. The message says what to do."""
    if not condition:
        raise ValueError(message)


def require_between(name: str, value: float, low: float, high: float) -> None:
    """Raise ValueError, unless low <= value <= high."""
    require(low <= value <= high, f"{name} is {value}; it must be {low} to {high}")
