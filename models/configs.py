"""Settings of models: frozen, and checked when they are made. A variant is a `replace`."""

from dataclasses import dataclass, field, replace
from typing import Literal

from models.own_code import OwnCode

# The sources of negatives in `models.negatives`. Others are functions of the user's file.
NEGATIVE_SOURCES = ("internal", "external", "minibatch")

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
    """Contrastive unpaired translation (Park et al., ECCV 2020). The defaults are the full variant.

    code: a file of the user with sources of negatives, which `negatives` can name, and with a loss, which `extra_loss`
    can name. extra_weight: the weight of that loss. docs/own_code.md is the guide.
    """

    method: Literal["cut"] = "cut"
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    temperature: float = 0.07
    places: tuple[str, ...] = ("pixels", "down1", "down2", "res1", "res5")
    num_patches: int = 256
    projection_units: int = 256
    negatives: tuple[str, ...] = ("internal",)
    external: ExternalConfig = field(default_factory=ExternalConfig)
    nce_weight: float = 1.0
    identity_weight: float = 1.0
    flip_equivariance: bool = False
    code: OwnCode | None = None
    extra_loss: str | None = None
    extra_weight: float = 1.0

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
        self._check_names()
        require_between("extra_weight", self.extra_weight, 0, HIGHEST)
        require(
            self.extra_loss is not None or self.extra_weight == 1,
            f"extra_weight is {self.extra_weight}, but extra_loss is not set; set it to a function of code",
        )

    def _check_names(self) -> None:
        """Raise ValueError for a source of negatives or a loss that neither the project nor the user's file has."""
        functions = self.code.functions if self.code else ()
        unknown = [name for name in self.negatives if name not in (*NEGATIVE_SOURCES, *functions)]
        place = f"{self.code.name} has {', '.join(functions) or 'no function'}" if self.code else "code is not set"
        require(
            not unknown,
            f"negatives names {', '.join(unknown)[:100]}; the sources are {', '.join(NEGATIVE_SOURCES)}, and the "
            f"functions of your own file ({place})",
        )
        require(
            self.extra_loss is None or self.extra_loss in functions,
            f"extra_loss is {self.extra_loss!r:.100}; it must be a function of your own file ({place})",
        )
        twice = [name for name in self.negatives if name in NEGATIVE_SOURCES and name in functions]
        require(not twice, f"code has a function {', '.join(twice)}, as this project has; give yours another name")

    @property
    def own_functions(self) -> tuple[str, ...]:
        """The functions of the user's file that this model uses."""
        sources = [name for name in self.negatives if name not in NEGATIVE_SOURCES]
        return (*sources, *([self.extra_loss] if self.extra_loss and self.extra_weight else []))

    @property
    def used(self) -> "CUTConfig":
        """The same model without the user's file if it uses none of its functions."""
        return self if self.own_functions else replace(self, code=None, extra_loss=None, extra_weight=1.0)

    @property
    def keeps_queues(self) -> bool:
        """Whether queues of earlier images are kept: for external negatives, or because the user's file reads them."""
        own = self.code is not None and self.code.use(self.own_functions, "queued_ND", "external")
        return "external" in self.negatives or own


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


@dataclass(frozen=True)
class Execution:
    """How a step is computed: precision, memory layout, and what is kept for the backward pass.

    `models.execution` applies it.

    The defaults are the exact reference. All other settings but bf16 change values only by float32's rounding.

    precision: of the networks' convolutions and products, and of the layers between them. Losses, statistics of norms,
        NCE's logits, weights and optimisers stay in float32.
    channels_last: the memory layout of features.
    recompute: cheap layers run again in the backward pass; their outputs are not kept (`networks.layers.run_layers`).
    compile: torch.compile compiles each network, once per shape. Translation for evaluation is not compiled.
    cuda_graphs: a whole step is one launch (`pipeline.training.cuda_graphs`).
    """

    precision: Literal["float32", "bf16"] = "float32"
    channels_last: bool = False
    recompute: bool = False
    compile: bool = False
    cuda_graphs: bool = False

    @property
    def switches(self) -> list[str]:
        """Name the settings that differ from the reference, without the precision."""
        words = {
            "channels_last": "channels last",
            "recompute": "with recomputation",
            "compile": "compiled",
            "cuda_graphs": "as CUDA graphs",
        }
        return [word for name, word in words.items() if getattr(self, name)]


REFERENCE = Execution()
