"""The ResNet generator: image and named features in one pass."""

from collections.abc import Iterable, Set

import torch
from torch import Tensor, nn

from models.configs import GeneratorConfig
from models.images import check_images, check_shape
from models.networks.layers import BlurDown, BlurUp, InstanceNorm, run_layers


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), each convolution 3 x 3, reflected and normalised; (B, C, H, W) kept."""

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
    """Translates (B, in_channels, H, W) in [-1, 1] to (B, out_channels, H, W); H and W are multiples of 4.

    A chain of named stages; the output of each that PatchNCE may look at is a *layer*
    (`GeneratorConfig.layer_channels`). Johnson et al. (ECCV 2016) with anti-aliasing, as CUT uses it.
    recompute: see `run_layers`.
    """

    recompute = False

    def __init__(self, config: GeneratorConfig, in_channels: int = 3, out_channels: int = 3) -> None:
        super().__init__()
        self.config, self.in_channels, self.out_channels = config, in_channels, out_channels
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
                "up1": nn.Sequential(*_doubling(deep, middle, config.antialias), *_normalised()),
                "up2": nn.Sequential(*_doubling(middle, thin, config.antialias), *_normalised()),
                "image": nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(thin, out_channels, 7), nn.Tanh()),
            }
        )

    def forward(self, image: Tensor, layers: Iterable[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """The translation, and the features (B, C, H', W') met on the way at the layers asked for.

        Raises ValueError for an image of a shape that cannot be translated.
        """
        check_shape("image", image, self.in_channels)
        translation, features = _run_stages(self.stages.items(), image, set(layers), recompute=self.recompute)
        return translation.float(), features

    def encode(self, image: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        """The features at the layers asked for, without what lies behind the last of them."""
        check_shape("image", image, self.in_channels)
        return encode(self.stages, image, layers, recompute=self.recompute)

    @torch.no_grad()
    def translate(self, image: Tensor) -> Tensor:
        """The translation alone, without a graph. Raises ValueError for what is no image of this domain."""
        check_images("image", image, self.in_channels)
        return self.forward(image)[0]  # not as a compiled call: batches are of other sizes here


def encode(
    stages: nn.ModuleDict, image: Tensor, layers: Iterable[str], *, recompute: bool = False
) -> dict[str, Tensor]:
    """Features at the layers, in running order; stops behind the last one."""
    wanted = set(layers)
    return _run_stages(_up_to_last(stages, wanted), image, wanted, recompute=recompute)[1]


def encoder_stages(generator: Generator, layers: Iterable[str]) -> nn.ModuleDict:
    """The generator's own stages up to the last of the layers (shared, not copied)."""
    return nn.ModuleDict(dict(_up_to_last(generator.stages, layers)))


def _up_to_last(stages: nn.ModuleDict, layers: Iterable[str]) -> list[tuple[str, nn.Module]]:
    last = max(list(stages).index(layer) for layer in layers)
    return list(stages.items())[: last + 1]


def _run_stages(
    stages: Iterable[tuple[str, nn.Module]], x: Tensor, wanted: Set[str], *, recompute: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """The last stage's output, and those of the stages that are wanted; what is wanted is kept, whatever it costs."""
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
