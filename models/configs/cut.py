"""Settings of CUT and FastCUT. A variant is a `replace`."""

from dataclasses import dataclass, field, replace
from typing import Literal

from models.configs.contrast import ExternalConfig
from models.configs.limits import HIGHEST, MOST_PATCHES, MOST_UNITS, require, require_between
from models.configs.networks import DiscriminatorConfig, GeneratorConfig
from models.configs.own_code import OwnCode

# The sources of negatives in `models.negatives`. Others are functions of the user's file.
NEGATIVE_SOURCES = ("internal", "external", "minibatch")


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


CUT = CUTConfig()
FASTCUT = replace(CUT, nce_weight=10.0, identity_weight=0.0, flip_equivariance=True)


def domain_weights(config: CUTConfig) -> dict[str, float]:
    """Return each domain's weight in w * (NCE(A) + v * NCE(B)) / (1 + v), without weights of 0."""
    weight, identity = config.nce_weight, config.identity_weight
    weights = {"a": weight / (1 + identity), "b": weight * identity / (1 + identity)}
    return {domain: value for domain, value in weights.items() if value > 0}
