"""Settings of PatchNCE's parts: where negatives come from, how they weigh, which patches are queries."""

from dataclasses import dataclass

from models.configs.limits import MOST_QUEUED, require, require_between


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
