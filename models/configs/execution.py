"""How a step is computed."""

from dataclasses import dataclass
from typing import Literal


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
