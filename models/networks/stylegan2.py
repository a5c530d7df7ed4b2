"""SinCUT's generator and discriminator, which are like StyleGAN2's without a style.

Source: Karras et al. (CVPR 2020), in the form of taesungp/contrastive-unpaired-translation @ b3ac297.
"""

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn

from models.configs.sincut import STYLE_BLOCKS, StyleDiscriminatorConfig, StyleGeneratorConfig
from models.images import check_images, check_shape
from models.networks.generator import encode, run_stages
from models.networks.layers import float32_or_wider, run_layers
from models.networks.stylegan2_layers import Blur, DoublingConv, ScaledConv, ScaledLinear, activation

# The seed of the noise that a translation gets if none is given.
NOISE_SEED = 0


class StyleBlock(nn.Module):
    """(conv(conv(x)) + skip(x)) / sqrt(2), of activated 3 x 3 convolutions: (B, inputs, H, W) -> (B, outputs, H', W').

    halving: H' = H / 2, and the skip is blurred, halved and convolved. Else H' = H and the skip is x.
    recompute: see `run_layers`.
    """

    recompute = False

    def __init__(self, inputs: int, outputs: int, *, halving: bool) -> None:
        super().__init__()
        self.conv1 = _activated(inputs, inputs, 3)
        self.conv2 = _halving(inputs, outputs) if halving else _activated(inputs, outputs, 3)
        # The released code blurs at full size and convolves every second pixel. Blurring only these is the same.
        halved = (Blur(padding=1, stride=2), ScaledConv(inputs, outputs, 1, activated=False))
        self.skip = nn.Sequential(*(halved if halving else ()))

    def forward(self, x: Tensor) -> Tensor:
        branch = run_layers([*self.conv1, *self.conv2], x, recompute=self.recompute)
        return (branch + run_layers([*self.skip], x, recompute=self.recompute)) / 2**0.5


class StyleGenerator(nn.Module):
    """Translates (B, in_channels, H, W) in [-1, 1] to (B, out_channels, H, W), which has no bounds.

    H and W are multiples of 4. It is a chain of named stages, of which `StyleGeneratorConfig.layer_channels` lists
    those that PatchNCE can use. No stage looks at the whole image: a pixel of the output sees at most 30 rows and
    columns to each side. recompute: see `run_layers`. memory_format: of all features.
    """

    recompute = False
    memory_format = torch.contiguous_format

    def __init__(self, config: StyleGeneratorConfig, in_channels: int = 3, out_channels: int = 3) -> None:
        super().__init__()
        self.config, self.in_channels, self.out_channels = config, in_channels, out_channels
        thin, deep = config.widths
        blocks = {f"res{number}": StyleBlock(deep, deep, halving=False) for number in range(1, STYLE_BLOCKS + 1)}
        self.stages = nn.ModuleDict(
            {
                "pixels": nn.Identity(),
                "stem": _activated(in_channels, thin, 1),
                "down": StyleBlock(thin, deep, halving=True),
                **blocks,
                "up": DoublingConv(deep, thin),
                "image": _activated(thin, out_channels, 1),
            }
        )

    def forward(
        self, image: Tensor, layers: Iterable[str] = (), noise: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the translation, and the features (B, C, H', W') of the given layers.

        noise: (B or 1, 1, H, W); by default `fixed_noise` of the image's size. Raises ValueError for a wrong shape.
        """
        check_shape("image", image, self.in_channels)
        height, width = image.shape[-2:]
        noise = fixed_noise(height, width).to(image) if noise is None else noise
        size = image.shape[0]  # torch.export keeps no symbol for `len`
        if noise.shape not in ((size, 1, height, width), (1, 1, height, width)):
            raise ValueError(f"noise is {tuple(noise.shape)}; expected ({size} or 1, 1, {height}, {width})")
        stages = dict(self.stages.items())
        last, up = stages.pop("image"), stages.pop("up")
        x = image.contiguous(memory_format=self.memory_format)
        deep, features = run_stages(stages.items(), x, set(layers), recompute=self.recompute)
        translation, _ = run_stages([("image", last)], up(deep, noise), set(), recompute=self.recompute)
        return translation.to(float32_or_wider(translation.dtype)), features

    def encode(self, image: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        """Return the features of the given layers. Stops after the last of them."""
        check_shape("image", image, self.in_channels)
        return encode(self.stages, image.contiguous(memory_format=self.memory_format), layers, recompute=self.recompute)

    @torch.no_grad()
    def translate(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return the translation, without a graph. Raises ValueError for a wrong shape or values not finite.

        noise: as in `forward`. By default all images of a size get the same, so translations can be repeated.
        """
        check_images("image", image, self.in_channels)
        return self.forward(image, (), noise)[0]  # `forward` is not compiled: batches have other sizes here


def fixed_noise(height: int, width: int) -> Tensor:
    """Return the noise (1, 1, H, W) of a translation, from NOISE_SEED: float32, on the CPU."""
    return torch.randn(1, 1, height, width, generator=torch.Generator().manual_seed(NOISE_SEED))


class StyleDiscriminator(nn.Module):
    """Scores whole images: (B, C, size, size) -> (B, 1). Higher is more real.

    recompute: see `run_layers`. memory_format: of all features.
    """

    recompute = False
    memory_format = torch.contiguous_format

    def __init__(self, config: StyleDiscriminatorConfig, size: int = 64, in_channels: int = 3) -> None:
        super().__init__()
        self.config, self.size, self.in_channels = config, size, in_channels
        widths = config.widths(size)
        blocks = [StyleBlock(inputs, outputs, halving=True) for inputs, outputs in pairwise(widths)]
        self.convs = nn.Sequential(_activated(in_channels, widths[0], 1), *blocks)
        self.final_conv = _activated(widths[-1], widths[-1], 3)
        self.final_linear = nn.Sequential(
            ScaledLinear(16 * widths[-1], widths[-1], activated=True),
            activation(),
            ScaledLinear(widths[-1], 1, activated=False),
        )

    def forward(self, image: Tensor) -> Tensor:
        stem, *blocks = self.convs
        layers = [*stem.children(), *blocks, *self.final_conv]
        features = run_layers(layers, image.contiguous(memory_format=self.memory_format), recompute=self.recompute)
        return self.final_linear(features.flatten(1))


def _activated(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(ScaledConv(inputs, outputs, kernel), activation())


def _halving(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(Blur(padding=2), ScaledConv(inputs, outputs, 3, stride=2, padding=0), activation())
