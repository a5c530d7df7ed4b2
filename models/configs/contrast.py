"""Settings of PatchNCE's parts: where negatives come from, how they weigh, which patches are queries."""

from dataclasses import dataclass
from typing import Literal

from models.configs.limits import HIGHEST, MOST_PATCHES, MOST_QUEUED, MOST_UNITS, require, require_between

Weighting = Literal["uniform", "hard", "optimal_transport", "top_k"]
Queries = Literal["random", "attention", "discriminator"]
Relation = Literal["none", "semantic"]


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
class GeneratedConfig:
    """Negatives that a network makes, as in NEGCUT (Wang et al., ICCV 2021). The defaults are its released code's.

    num_negatives: made for each image and layer; all queries of the image share them. An even number.
    noise_size: numbers of noise that each is made from, beside the image's mean embedding.
    momentum: share of the old weights kept at each step by the copy of the heads that embeds the mean.
    diversity_weight: weight of the distance between the two halves of the negatives, which the network maximises.
    through_encoder: whether the generator's loss has a gradient through the mean embedding into the encoder.
    """

    num_negatives: int = 256
    noise_size: int = 64
    momentum: float = 0.9
    diversity_weight: float = 1.0
    through_encoder: bool = True

    def __post_init__(self) -> None:
        require_between("generated.num_negatives", self.num_negatives, 2, MOST_PATCHES)
        require(self.num_negatives % 2 == 0, f"generated.num_negatives is {self.num_negatives}; it must be even")
        require_between("generated.noise_size", self.noise_size, 1, MOST_UNITS)
        require(0 <= self.momentum < 1, f"generated.momentum is {self.momentum}; it must be in [0, 1)")
        require_between("generated.diversity_weight", self.diversity_weight, 0, HIGHEST)


@dataclass(frozen=True)
class HardConfig:
    """Weights by the similarity of keys, as in hDCE (Jung et al., CVPR 2022). The defaults are for horse2zebra.

    gamma falls (or rises) linearly over the epochs, from the first to the last. The larger, the more equal the weights.
    """

    gamma_start: float = 50.0
    gamma_end: float = 10.0

    def __post_init__(self) -> None:
        for name in ("gamma_start", "gamma_end"):
            require_between(f"hard.{name}", getattr(self, name), 0.1, HIGHEST)

    def gamma(self, progress: float) -> float:
        """Return gamma at a progress from 0 (first epoch) to 1 (last epoch)."""
        return self.gamma_start + (self.gamma_end - self.gamma_start) * progress


@dataclass(frozen=True)
class OptimalTransportConfig:
    """Weights by optimal transport, as in MoNCE (Zhan et al., CVPR 2022). The defaults are its released code's.

    epsilon: the entropy's weight. The larger, the more equal the weights. Its script for horse2zebra has 0.1.
    prefer: whether similar or dissimilar negatives weigh more.
    iterations: of Sinkhorn's algorithm.
    through_queries: whether the loss has a gradient through the weights into the queries.
    """

    epsilon: float = 1.0
    prefer: Literal["similar", "dissimilar"] = "similar"
    iterations: int = 50
    through_queries: bool = True

    def __post_init__(self) -> None:
        # exp(-2 / 0.05) is 4e-18: sums of such numbers are still exact enough in float32.
        require_between("optimal_transport.epsilon", self.epsilon, 0.05, HIGHEST)
        require_between("optimal_transport.iterations", self.iterations, 1, 1000)


@dataclass(frozen=True)
class AttentionConfig:
    """Queries where the source attends most sharply, as in QS-Attn (Hu et al., CVPR 2022), at some layers.

    layers: at the other ones, queries are random.
    window: of positions that a position attends to. 'global': the whole map. 'local': 7 x 7 around it. 'local_global':
        queries are chosen by local attention and attend to the whole map.
    """

    layers: tuple[str, ...] = ("res1", "res5")
    window: Literal["global", "local", "local_global"] = "global"


@dataclass(frozen=True)
class GuidedConfig:
    """Queries where the discriminator finds the output least real, as in EnCo (Cai et al., AAAI 2024).

    oversample: candidates for each query. random_share: share of queries that are random instead.
    """

    oversample: int = 4
    random_share: float = 0.5

    def __post_init__(self) -> None:
        require_between("guided.oversample", self.oversample, 1, 1000)
        require_between("guided.random_share", self.random_share, 0, 1)
