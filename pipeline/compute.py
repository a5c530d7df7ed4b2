"""What this machine offers a trial."""

import torch

from pipeline.errors import UserError


def resolve_device(name: str) -> torch.device:
    """'auto' is CUDA where there is some, else the CPU. Raises UserError for a CUDA that is not there."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UserError("compute.device=cuda: torch sees no CUDA device here; use compute.device=auto or cpu")
    return torch.device("cuda" if available and name != "cpu" else "cpu")
