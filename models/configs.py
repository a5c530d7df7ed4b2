"""Settings of models: frozen, and checked when they are made. A variant is a `replace`."""

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

NegativeSource = Literal["internal", "external", "minibatch"]

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
# Of all weights, queues and pools together: 2 GB in float32. CUT stores 15 million, 64 million with external negatives.
MOST_STORED = 500_000_000
# The weights of red, green and blue in a gray value (ITU-R BT.601), as in Pillow's mode 'L'.
LUMA = (0.299, 0.587, 0.114)


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


def require_between(name: str, value: float, low: float, high: float) -> None:
    """Raise ValueError, unless low <= value <= high."""
    require(low <= value <= high, f"{name} is {value}; it must be {low} to {high}")


@dataclass(frozen=True)
class GeneratorConfig:
    """The ResNet generator. The defaults are the paper's 'resnet_9blocks'."""

    channels: int = 64
    blocks: int = 9
    antialias: bool = True

    def __post_init__(self) -> None:
        require_between("generator.channels", self.channels, 1, MOST_CHANNELS)
        require_between("generator.blocks", self.blocks, 1, MOST_BLOCKS)

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
        require_between("discriminator.channels", self.channels, 1, MOST_CHANNELS)
        require_between("discriminator.layers", self.layers, 1, MOST_DISCRIMINATOR_LAYERS)


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
        require_between("external.queue_size", self.queue_size, 1, MOST_QUEUED)


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
        require_between("temperature", self.temperature, 0, HIGHEST)
        require_between("num_patches", self.num_patches, 1, MOST_PATCHES)
        require_between("projection_units", self.projection_units, 1, MOST_UNITS)
        require_between("nce_weight", self.nce_weight, 0, HIGHEST)
        require_between("identity_weight", self.identity_weight, 0, HIGHEST)
        known = self.generator.layer_channels()
        unknown = [layer for layer in self.places if layer not in known]
        require(
            not unknown,
            f"places names {', '.join(unknown)[:100]}; this generator has pixels, stem, down1, down2 and "
            f"res1 to res{self.generator.blocks}",
        )
        require(len(self.places) > 0, "places is empty; name at least one, or set nce_weight=0 for a plain GAN")
        require(len(set(self.places)) == len(self.places), f"places names one twice: {', '.join(self.places)[:100]}")
        require(
            len(self.negatives) > 0,
            "negatives is empty; name internal, external or both, or set nce_weight=0 for a plain GAN",
        )
        require(
            len(set(self.negatives)) == len(self.negatives),
            f"negatives names one source twice: {', '.join(self.negatives)[:100]}",
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
        require_between("cycle_weight", self.cycle_weight, 0, HIGHEST)
        require_between("identity_weight", self.identity_weight, 0, HIGHEST)
        require_between("pool_size", self.pool_size, 0, MOST_POOLED)


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


def stored_numbers(config: ModelConfig, shape: ImageShape) -> dict[str, int]:
    """Return how many numbers each part of a model stores at most, by the settings that decide on it.

    Biases are left out.
    """
    thin, layers = config.generator.channels, config.discriminator.layers
    # Two convolutions of 7 x 7, two that halve and two that double the size, and two of 3 x 3 in each block.
    generator = 2 * 49 * 3 * thin + 9 * 20 * thin**2 + 2 * 9 * (4 * thin) ** 2 * config.generator.blocks
    widths = [3, *(config.discriminator.channels * min(2**layer, 8) for layer in range(layers + 1)), 1]
    discriminator = 16 * sum(inputs * outputs for inputs, outputs in pairwise(widths))
    match config:
        case CUTConfig():
            channels, units = config.generator.layer_channels(), config.projection_units
            heads = sum(units * (channels[place] + units) for place in config.places)
            # Momentum copies of encoder and heads, and a queue for each domain and layer.
            external = "external" in config.negatives
            queues = len(domain_weights(config)) * len(config.places) * config.external.queue_size
            return {
                "generator.channels or generator.blocks": generator * (1 + external),
                "discriminator.channels or discriminator.layers": discriminator,
                "projection_units": heads * (1 + external),
                "external.queue_size or projection_units": queues * units * external,
            }
        case CycleGANConfig():
            return {
                "generator.channels or generator.blocks": 2 * generator,
                "discriminator.channels or discriminator.layers": 2 * discriminator,
                "pool_size": config.pool_size * shape.height * shape.width * (shape.channels_a + shape.channels_b),
            }


def misfits(config: ModelConfig, shape: ImageShape, batch_size: int) -> list[str]:
    """Return why this model cannot train on batches of images of this shape, and what to change; nothing if it can."""
    height, width = shape.height, shape.width
    found: list[str] = []
    if height % 4 or width % 4:
        found.append(f"images are {height} x {width}; height and width must be multiples of 4")
    stored = stored_numbers(config, shape)
    if (total := sum(stored.values())) > MOST_STORED:
        found.append(
            f"the model would store {total:,} numbers ({4 * total / 1e9:.1f} GB), and at most {MOST_STORED:,} are "
            f"allowed; lower {max(stored, key=lambda part: stored[part])}"
        )
    if score_map_size(config.discriminator, min(height, width)) < 1:
        found.append(
            f"images of {height} x {width} are too small for discriminator.layers={config.discriminator.layers}; "
            "lower the layers or enlarge the images"
        )
    match config:
        case CUTConfig() if domain_weights(config):
            if "minibatch" in config.negatives and batch_size == 1:
                found.append(
                    "minibatch negatives need train.batch_size > 1 (with 1 they equal internal ones); use external"
                )
            positions = map_positions(config.generator, shape)
            few = {layer: positions[layer] for layer in config.places if positions[layer] < config.num_patches}
            if few:
                each = " and ".join(f"{layer} has {count} positions" for layer, count in few.items())
                found.append(
                    f"num_patches is {config.num_patches}, but {each} in an image of {height} x {width}; "
                    f"set model.num_patches={min(few.values())} or less, or drop the layer"
                )
        case _:
            pass
    return found
