"""The shape of a task's images."""

from dataclasses import dataclass

# The weights of red, green and blue in a gray value (ITU-R BT.601), as in Pillow's mode 'L'.
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class ImageShape:
    """Height and width of all images of a task in pixels, and each domain's channels: 1 (gray) or 3 (colour)."""

    height: int
    width: int
    channels_a: int = 3
    channels_b: int = 3
