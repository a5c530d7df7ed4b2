"""Networks that turn an image into a map of features: one vector for each of its positions.

They take 8-bit images (B, 3, H, W), do not resize them, and return a tuple of one map (B, C, h, w), as the networks of
`pipeline.metrics.extractors` return one of features.
"""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.inception import BasicConv2d

from pipeline.errors import UserError, first_line
from pipeline.files import file_digest

# Torchvision's file of Inception v3, trained on ImageNet. Its name ends in the first digits of its SHA-256.
IMAGENET_SHA256 = "0cc3c7bd"
IMAGENET_FILE = f"inception_v3_google-{IMAGENET_SHA256}.pth"
IMAGENET_URL = f"https://download.pytorch.org/models/{IMAGENET_FILE}"
# So many of small-conv's layers: as in Inception's map, a position stands for 4 x 4 pixels.
SMALL_LAYERS = 2


class SmallConvMap(nn.Module):
    """The first layers of the embedded task's extractor: (B, 3, H, W) of 8 bits -> (B, 24, H / 4, W / 4)."""

    def __init__(self, filters: Sequence[Tensor]) -> None:
        super().__init__()
        for number, of_layer in enumerate(filters[:SMALL_LAYERS]):
            self.register_buffer(f"filters{number}", of_layer)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        x = images.float() / 127.5 - 1
        for filters in self.buffers():
            x = F.relu(F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), filters, stride=2))
        # The same factor as that of the extractor.
        return (10 * x,)


class ImageNetInceptionMap(nn.Module):
    """Torchvision's Inception v3 up to Conv2d_4a, before the second max pooling: 192 channels, about H / 4 x W / 4.

    Images get values in [-1, 1]. The names of the layers are those of torchvision's file.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            OrderedDict(
                Conv2d_1a_3x3=BasicConv2d(3, 32, kernel_size=3, stride=2),
                Conv2d_2a_3x3=BasicConv2d(32, 32, kernel_size=3),
                Conv2d_2b_3x3=BasicConv2d(32, 64, kernel_size=3, padding=1),
                maxpool1=nn.MaxPool2d(kernel_size=3, stride=2),
                Conv2d_3b_1x1=BasicConv2d(64, 80, kernel_size=1),
                Conv2d_4a_3x3=BasicConv2d(80, 192, kernel_size=3),
            )
        )

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.layers(images.float() / 127.5 - 1),)


def load_imagenet_inception(weights: str | None) -> nn.Module:
    """Load Inception's first layers from torchvision's file. Raises UserError if it is none, or not given."""
    file = imagenet_file(weights)
    if file.name == IMAGENET_FILE and not file_digest(file).startswith(IMAGENET_SHA256):
        raise UserError(f"{file}: its SHA-256 does not begin with {IMAGENET_SHA256}, as in its name. Download it again")
    network = ImageNetInceptionMap().eval().requires_grad_(False)
    try:
        content = torch.load(file, weights_only=True)
        network.layers.load_state_dict({name: content[name] for name in network.layers.state_dict()})
    except Exception as error:  # damaged files raise many kinds
        raise UserError(
            f"{file}: not the weights of torchvision's Inception v3 ({first_line(error)}). Download {IMAGENET_URL}"
        ) from None
    return network


def imagenet_file(weights: str | None) -> Path:
    """Return the given file. Raises UserError if none is given, or if it does not exist."""
    if weights is None:
        raise UserError(f"SIFID needs metric.weights=FILE: torchvision's Inception v3. Download {IMAGENET_URL}")
    if not Path(weights).is_file():
        raise UserError(f"metric.weights={weights}: no such file. Give the path of {IMAGENET_FILE}")
    return Path(weights)
