"""The ResNet generator: image and named features in one pass."""

from collections.abc import Iterable, Set

import torch
from torch import Tensor, nn

from models.configs.networks import GeneratorConfig
from models.images import check_images, check_shape
from models.networks.layers import BlurDown, BlurUp, InstanceNorm, float32_or_wider, run_layers


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), of 3 x 3 convolutions with reflection padding and norm. Keeps the shape (B, C, H, W)."""

    recompute = False

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            InstanceNorm(),
            nn.ReLU(inplace=True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            InstanceNorm(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + run_layers(list(self.branch), x, recompute=self.recompute)


class Generator(nn.Module):
    """Translates (B, in_channels, H, W) in [-1, 1] to (B, out_channels, H, W). H and W are multiples of 4.

    It is a chain of named stages. `GeneratorConfig.layer_channels` lists those that PatchNCE can use: the layers.
    Source: Johnson et al. (ECCV 2016), with anti-aliasing as in CUT. recompute: see `run_layers`. antialias_up: only
    for checkpoints of the reference code, which has a flag for each direction; by default as the configuration says.
    """

    recompute = False

    def __init__(
        self,
        config: GeneratorConfig,
        in_channels: int = 3,
        out_channels: int = 3,
        *,
        antialias_up: bool | None = None,
    ) -> None:
        super().__init__()
        self.config, self.in_channels, self.out_channels = config, in_channels, out_channels
        blurred_up = config.antialias if antialias_up is None else antialias_up
        thin, middle, deep = config.channels, 2 * config.channels, 4 * config.channels
        blocks = {f"res{number}": ResidualBlock(deep) for number in range(1, config.blocks + 1)}
        self.stages = nn.ModuleDict(
            {
                "pixels": nn.ReflectionPad2d(3),
                "stem": nn.Sequential(nn.Conv2d(in_channels, thin, 7), *_normalised()),
                "down1": _halving(thin, middle, config.antialias),
                "halve1": nn.Sequential(*_normalised(), *([BlurDown(middle)] if config.antialias else [])),
                "down2": _halving(middle, deep, config.antialias),
                "halve2": nn.Sequential(*_normalised(), *([BlurDown(deep)] if config.antialias else [])),
                **blocks,
                "up1": nn.Sequential(*_doubling(deep, middle, blurred_up), *_normalised()),
                "up2": nn.Sequential(*_doubling(middle, thin, blurred_up), *_normalised()),
                "image": nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(thin, out_channels, 7), nn.Tanh()),
            }
        )

    def forward(self, image: Tensor, layers: Iterable[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the translation, and the features (B, C, H', W') of the given layers.

        Raises ValueError for an image of a wrong shape.
        """
        check_shape("image", image, self.in_channels)
        translation, features = run_stages(self.stages.items(), image, set(layers), recompute=self.recompute)
        return translation.to(float32_or_wider(translation.dtype)), features

    def encode(self, image: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        """Return the features of the given layers. Stops after the last of them."""
        check_shape("image", image, self.in_channels)
        return encode(self.stages, image, layers, recompute=self.recompute)

    @torch.no_grad()
    def translate(self, image: Tensor) -> Tensor:
        """Return the translation, without a graph. Raises ValueError for a wrong shape or values not finite."""
        check_images("image", image, self.in_channels)
        return self.forward(image)[0]  # `forward` is not compiled: batches have other sizes here


def encode(
    stages: nn.ModuleDict, image: Tensor, layers: Iterable[str], *, recompute: bool = False
) -> dict[str, Tensor]:
    """Return the features of the given layers, in running order. Stops after the last one."""
    wanted = set(layers)
    return run_stages(_up_to_last(stages, wanted), image, wanted, recompute=recompute)[1]


def encoder_stages(generator: Generator, layers: Iterable[str]) -> nn.ModuleDict:
    """Return the generator's stages up to the last of the layers (shared, not copied)."""
    return nn.ModuleDict(dict(_up_to_last(generator.stages, layers)))


def _up_to_last(stages: nn.ModuleDict, layers: Iterable[str]) -> list[tuple[str, nn.Module]]:
    last = max(list(stages).index(layer) for layer in layers)
    return list(stages.items())[: last + 1]


def run_stages(
    stages: Iterable[tuple[str, nn.Module]], x: Tensor, wanted: Set[str], *, recompute: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the last stage's output, and the outputs of the wanted stages. Those are never recomputed."""
    features: dict[str, Tensor] = {}
    modules: list[nn.Module] = []
    for name, stage in stages:
        modules += stage if isinstance(stage, nn.Sequential) else [stage]
        if name in wanted:
            features[name] = x = run_layers(modules, x, recompute=recompute)
            modules = []
    return run_layers(modules, x, recompute=recompute), features


def _normalised() -> list[nn.Module]:
    return [InstanceNorm(), nn.ReLU(inplace=True)]


def _halving(inputs: int, outputs: int, antialias: bool) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=1 if antialias else 2, padding=1)


def _doubling(inputs: int, outputs: int, antialias: bool) -> list[nn.Module]:
    if antialias:
        return [BlurUp(inputs), nn.Conv2d(inputs, outputs, 3, padding=1)]
    return [nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)]
