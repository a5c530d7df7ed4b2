"""Settings of CUT and FastCUT. A variant is a `replace`."""

from dataclasses import dataclass, field, fields, replace
from typing import Literal

from models.configs.contrast import (
    AttentionConfig,
    ExternalConfig,
    GeneratedConfig,
    GuidedConfig,
    HardConfig,
    OptimalTransportConfig,
    Queries,
    Relation,
    Weighting,
)
from models.configs.limits import HIGHEST, MOST_PATCHES, MOST_UNITS, require, require_between
from models.configs.networks import DiscriminatorConfig, GeneratorConfig, check_places
from models.configs.own_code import OwnCode

# The sources of negatives in `models.negatives`. Others are functions of the user's file.
NEGATIVE_SOURCES = ("internal", "external", "minibatch", "generated", "other_domain")

# The groups of settings of each choice below: unless it is chosen, they change nothing.
CHOICES = {
    "generated": "generated",
    "hard": "hard",
    "optimal_transport": "optimal_transport",
    "top_k": "top_k",
    "attention": "attention",
    "guided": "discriminator",
    "relation_weight": "semantic",
}


@dataclass(frozen=True)
class CUTConfig:
    """Contrastive unpaired translation (Park et al., ECCV 2020). The defaults are the full variant.

    negatives, weighting, decoupled, queries and relation are the parts that later papers changed. A group of settings
    with the name of a choice belongs to it; `guided` belongs to queries=discriminator.

    decoupled: the positive is left out of the softmax's sum (Yeh et al., ECCV 2022).
    top_k: how many of the most similar negatives of each query count (Lin et al., ACM MM 2022).
    relation: 'semantic' also keeps the distribution of similarities among the patches of A, with `relation_weight`
        (Jung et al., CVPR 2022).
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
    generated: GeneratedConfig = field(default_factory=GeneratedConfig)
    weighting: Weighting = "uniform"
    hard: HardConfig = field(default_factory=HardConfig)
    optimal_transport: OptimalTransportConfig = field(default_factory=OptimalTransportConfig)
    top_k: int = 5
    decoupled: bool = False
    queries: Queries = "random"
    attention: AttentionConfig = field(default_factory=AttentionConfig)
    guided: GuidedConfig = field(default_factory=GuidedConfig)
    relation: Relation = "none"
    relation_weight: float = 0.05
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
        layers = f"pixels, stem, down1, down2 and res1 to res{self.generator.blocks}"
        check_places(self.places, self.generator.layer_channels(), layers)
        require(
            len(self.negatives) > 0,
            f"negatives is empty; name at least one of {', '.join(NEGATIVE_SOURCES)}, or set nce_weight=0 for a plain "
            "GAN",
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
        self._check_choices()
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

    def _check_choices(self) -> None:
        """Raise ValueError for choices that do not go together."""
        require_between("top_k", self.top_k, 1, MOST_PATCHES)
        require_between("relation_weight", self.relation_weight, 0, HIGHEST)
        require(
            self.weighting != "optimal_transport"
            or (
                len(self.negatives) == 1 and self.negatives[0] in NEGATIVE_SOURCES and self.negatives[0] != "minibatch"
            ),
            "weighting=optimal_transport divides each negative among the queries of one image, so it needs one source "
            f"of negatives, other than minibatch and own functions; found {', '.join(self.negatives)[:100]}",
        )
        own = [name for name in self.negatives if name not in NEGATIVE_SOURCES]
        require(
            self.weighting != "hard" or not own,
            "weighting=hard compares a query's own key with each of its negatives, and your function may choose "
            f"negatives by the query: {', '.join(own)[:100]}; set another weighting, or weigh in your function",
        )
        absent = [layer for layer in self.attention.layers if layer not in self.places]
        require(
            self.queries != "attention" or not absent,
            f"attention.layers names {', '.join(absent)[:100]}, and places does not; name layers of places",
        )
        require(
            self.queries != "attention" or len(self.attention.layers) > 0,
            "attention.layers is empty; name layers of places, or set queries=random",
        )
        require(
            self.relation == "none" or self.nce_weight > 0,
            "relation=semantic compares the patches of PatchNCE, and nce_weight is 0; set relation=none",
        )

    @property
    def own_functions(self) -> tuple[str, ...]:
        """The functions of the user's file that this model uses."""
        sources = [name for name in self.negatives if name not in NEGATIVE_SOURCES]
        return (*sources, *([self.extra_loss] if self.extra_loss and self.extra_weight else []))

    @property
    def unchosen(self) -> set[str]:
        """The settings of choices that this model does not make."""
        chosen = {*self.negatives, self.weighting, self.queries, self.relation}
        if self.generates_negatives:
            chosen.add("generated")
        return {name for name, choice in CHOICES.items() if choice not in chosen}

    @property
    def used(self) -> "CUTConfig":
        """The same model, in which all that changes nothing has its default: the user's file, settings of choices."""
        own = set[str]() if self.own_functions else {"code", "extra_loss", "extra_weight"}
        defaults = {
            part.name: part.default_factory() if callable(part.default_factory) else part.default
            for part in fields(self)
        }
        return replace(self, **{name: defaults[name] for name in self.unchosen | own})

    @property
    def plain(self) -> "CUTConfig":
        """The same model with CUT's choices in place of those of later papers."""
        negatives = tuple(name for name in self.negatives if name not in ("generated", "other_domain"))
        chosen = replace(self, negatives=negatives or ("internal",), weighting="uniform", queries="random")
        return replace(chosen, decoupled=False, relation="none").used

    @property
    def keeps_queues(self) -> bool:
        """Whether queues of earlier images are kept."""
        return self._reads("external", "queued_ND")

    @property
    def generates_negatives(self) -> bool:
        """Whether a network generates negatives."""
        return self._reads("generated", "generated_BND")

    @property
    def compares_domains(self) -> bool:
        """Whether patches of one domain are negatives of the other one's."""
        return self._reads("other_domain", "other_BND")

    def _reads(self, source: str, name: str) -> bool:
        """Return whether negatives come from that source, or the user's sources use it or that field of `Patches`."""
        own = [negatives for negatives in self.negatives if negatives not in NEGATIVE_SOURCES]
        return source in self.negatives or (self.code is not None and self.code.use(own, name, source))

    def count_negatives(self, source: str, batch_size: int) -> int:
        """Return how many negatives a query has from one of this project's sources."""
        match source:
            case "internal":
                return self.num_patches - 1
            case "minibatch":
                return batch_size * self.num_patches - 1
            case "external":
                return self.external.num_negatives
            case "generated":
                return self.generated.num_negatives
            case "other_domain":
                return self.num_patches
            case _:
                raise ValueError(f"negatives of {source} are not counted")


CUT = CUTConfig()
FASTCUT = replace(CUT, nce_weight=10.0, identity_weight=0.0, flip_equivariance=True)


def domain_weights(config: CUTConfig) -> dict[str, float]:
    """Return each domain's weight in w * (NCE(A) + v * NCE(B)) / (1 + v), without weights of 0."""
    weight, identity = config.nce_weight, config.identity_weight
    weights = {"a": weight / (1 + identity), "b": weight * identity / (1 + identity)}
    return {domain: value for domain, value in weights.items() if value > 0}
