"""Settings of models: frozen, and checked when they are made. A variant is a `replace`."""

from dataclasses import dataclass, field, replace
from typing import Literal

NegativeSource = Literal["internal", "external", "minibatch"]


@dataclass(frozen=True)
class ImageShape:
    """Height and width of all images of a task in pixels, and each domain's channels: 1 (gray) or 3 (colour)."""

    height: int
    width: int
    channels_a: int = 3
    channels_b: int = 3


def require(condition: bool, message: str) -> None:
    """Raise ValueError with the message, unless the condition holds. The message says what to do."""
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True)
class GeneratorConfig:
    """The ResNet generator. The defaults are the paper's 'resnet_9blocks'."""

    channels: int = 64
    blocks: int = 9
    antialias: bool = True

    def __post_init__(self) -> None:
        require(self.channels >= 1, f"generator.channels is {self.channels}; it must be at least 1")
        require(self.blocks >= 1, f"generator.blocks is {self.blocks}; it must be at least 1")

    def layer_channels(self, image_channels: int = 3) -> dict[str, int]:
        """Return the channels of each encoder layer that PatchNCE can use, in running order."""
        deep = 4 * self.channels
        return {
            "pixels": image_channels,
            "stem": self.channels,
            "down1": 2 * self.channels,
            "down2": deep,
            **{f"res{number}": deep for number in range(1, self.blocks + 1)},
        }


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The PatchGAN. With the defaults, a score sees 70 x 70 pixels."""

    channels: int = 64
    layers: int = 3
    antialias: bool = True

    def __post_init__(self) -> None:
        require(self.channels >= 1, f"discriminator.channels is {self.channels}; it must be at least 1")
        require(self.layers >= 1, f"discriminator.layers is {self.layers}; it must be at least 1")


@dataclass(frozen=True)
class ExternalConfig:
    """Negatives from other images, through a momentum encoder. The settings are this project's own (docs/decisions.md).

    momentum: share of the old weights kept at each step.
    queue_size: patches in the queue of each domain and layer.
    num_negatives: patches sampled from the queue at each step.
    warmup: patches that the queue must hold before any is sampled. Until then the source gives no negatives.
    """

    momentum: float = 0.999
    queue_size: int = 16384
    num_negatives: int = 255
    warmup: int = 2048

    def __post_init__(self) -> None:
        require(0 <= self.momentum < 1, f"external.momentum is {self.momentum}; it must be in [0, 1)")
        require(
            1 <= self.num_negatives <= self.warmup <= self.queue_size,
            "external negatives need 1 <= num_negatives <= warmup <= queue_size; found "
            f"num_negatives={self.num_negatives}, warmup={self.warmup}, queue_size={self.queue_size}",
        )


@dataclass(frozen=True)
class CUTConfig:
    """Contrastive unpaired translation (Park et al., ECCV 2020). The defaults are the full variant."""

    method: Literal["cut"] = "cut"
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    temperature: float = 0.07
    places: tuple[str, ...] = ("pixels", "down1", "down2", "res1", "res5")
    num_patches: int = 256
    projection_units: int = 256
    negatives: tuple[NegativeSource, ...] = ("internal",)
    external: ExternalConfig = field(default_factory=ExternalConfig)
    nce_weight: float = 1.0
    identity_weight: float = 1.0
    flip_equivariance: bool = False

    def __post_init__(self) -> None:
        require(self.temperature > 0, f"temperature is {self.temperature}; it must be above 0")
        require(self.num_patches >= 1, f"num_patches is {self.num_patches}; it must be at least 1")
        require(self.projection_units >= 1, f"projection_units is {self.projection_units}; it must be at least 1")
        require(self.nce_weight >= 0, f"nce_weight is {self.nce_weight}; it must not be negative")
        require(self.identity_weight >= 0, f"identity_weight is {self.identity_weight}; it must not be negative")
        known = self.generator.layer_channels()
        unknown = [layer for layer in self.places if layer not in known]
        require(
            not unknown,
            f"places names {', '.join(unknown)}; this generator of {self.generator.blocks} blocks has "
            f"{', '.join(known)}",
        )
        require(len(self.places) > 0, "places is empty; name at least one, or set nce_weight=0 for a plain GAN")
        require(len(set(self.places)) == len(self.places), f"places names one twice: {', '.join(self.places)}")
        require(
            len(self.negatives) > 0,
            "negatives is empty; name internal, external or both, or set nce_weight=0 for a plain GAN",
        )
        require(
            len(set(self.negatives)) == len(self.negatives),
            f"negatives names one source twice: {', '.join(self.negatives)}",
        )
        require(
            not {"internal", "minibatch"} <= set(self.negatives),
            "minibatch negatives contain the internal ones; name one of the two",
        )


@dataclass(frozen=True)
class CycleGANConfig:
    """CycleGAN (Zhu et al., ICCV 2017) with CUT's networks. identity_weight is relative to cycle_weight."""

    method: Literal["cyclegan"] = "cyclegan"
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    cycle_weight: float = 10.0
    identity_weight: float = 0.5
    pool_size: int = 50

    def __post_init__(self) -> None:
        require(self.cycle_weight >= 0, f"cycle_weight is {self.cycle_weight}; it must not be negative")
        require(self.identity_weight >= 0, f"identity_weight is {self.identity_weight}; it must not be negative")
        require(self.pool_size >= 0, f"pool_size is {self.pool_size}; it must not be negative")


ModelConfig = CUTConfig | CycleGANConfig

CUT = CUTConfig()
FASTCUT = replace(CUT, nce_weight=10.0, identity_weight=0.0, flip_equivariance=True)
CYCLEGAN = CycleGANConfig()


def domain_weights(config: CUTConfig) -> dict[str, float]:
    """Return each domain's weight in w * (NCE(A) + v * NCE(B)) / (1 + v), without weights of 0."""
    weight, identity = config.nce_weight, config.identity_weight
    weights = {"a": weight / (1 + identity), "b": weight * identity / (1 + identity)}
    return {domain: value for domain, value in weights.items() if value > 0}


def map_positions(config: GeneratorConfig, shape: ImageShape) -> dict[str, int]:
    """Return the positions (rows x columns) of each layer's feature map, for images of that shape.

    With anti-aliasing, a down-sampling convolution keeps the size, and the blur after it halves it. Without, the
    convolution itself has stride 2.
    """
    full, half, quarter = (shape.height * shape.width // 4**halvings for halvings in range(3))
    down1, down2 = (full, half) if config.antialias else (half, quarter)
    shallow = {"pixels": (shape.height + 6) * (shape.width + 6), "stem": full, "down1": down1, "down2": down2}
    return {layer: shallow.get(layer, quarter) for layer in config.layer_channels()}


def score_map_size(config: DiscriminatorConfig, size: int) -> int:
    """Return the rows of the discriminator's scores for an image of `size` rows; below 1 if the image is too small."""
    for _ in range(config.layers):
        # A 4 x 4 convolution with padding 1: of stride 2, or of stride 1 before a blur that halves and rounds up.
        size = size // 2 if config.antialias else (size - 2) // 2 + 1
        # Reflection padding needs two rows, normalisation more than one value.
        if size < 2:
            return 0
    return size - 2


def check_model_fits(config: ModelConfig, shape: ImageShape, batch_size: int) -> None:
    """Raise ValueError if this model cannot train on batches of images of this shape. It says what to change."""
    height, width = shape.height, shape.width
    require(
        height % 4 == 0 and width % 4 == 0,
        f"images are {height} x {width}; height and width must be multiples of 4",
    )
    scores = score_map_size(config.discriminator, min(height, width))
    require(
        scores >= 1,
        f"images of {height} x {width} are too small for discriminator.layers={config.discriminator.layers}; "
        "lower the layers or enlarge the images",
    )
    match config:
        case CUTConfig() if domain_weights(config):
            require(
                "minibatch" not in config.negatives or batch_size > 1,
                "minibatch negatives need train.batch_size > 1 (with 1 they equal internal ones); use external",
            )
            positions = map_positions(config.generator, shape)
            for layer in config.places:
                require(
                    config.num_patches <= positions[layer],
                    f"num_patches is {config.num_patches}, but {layer} has {positions[layer]} positions in an image of "
                    f"{height} x {width}; lower num_patches or drop the layer",
                )
        case _:
            pass
