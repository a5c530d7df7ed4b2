"""Which part of the peak performance of its GPU a step reaches."""

import re
from typing import NamedTuple


class Peak(NamedTuple):
    """Dense operations per second of a card, without sparsity. A multiply-add counts as two.

    bf16, tf32: of the tensor cores, bf16 with float32 sums; None if the card lacks them. float32: of the CUDA cores.
    """

    bf16: float | None
    tf32: float | None
    float32: float


# By the names in CUDA. Sources: NVIDIA's data sheets of H100, H200, A100, L40S and V100 (figures with sparsity are
# halved), and the appendices of the white papers on Ada (RTX 4090) and Ampere GA102 (RTX 3090).
PEAKS = {
    r"NVIDIA H100 \d+GB HBM\d\w?": Peak(989.4e12, 494.7e12, 66.9e12),  # SXM
    r"NVIDIA H100 PCIe": Peak(756e12, 378e12, 51.2e12),
    r"NVIDIA H100 NVL": Peak(835e12, 417.5e12, 60e12),
    r"NVIDIA H200": Peak(989.4e12, 494.7e12, 66.9e12),  # SXM
    r"NVIDIA H200 NVL": Peak(835e12, 417.5e12, 60e12),
    r"(NVIDIA )?A100[- ].*": Peak(312e12, 156e12, 19.5e12),
    r"(NVIDIA )?(Tesla )?V100-SXM2-\d+GB.*": Peak(None, None, 15.7e12),
    r"(NVIDIA )?(Tesla )?V100-PCIE-\d+GB": Peak(None, None, 14.0e12),
    r"NVIDIA L40S": Peak(362e12, 183e12, 91.6e12),
    r"NVIDIA GeForce RTX 4090": Peak(165.2e12, 82.6e12, 82.6e12),
    r"NVIDIA GeForce RTX 3090": Peak(71.2e12, 35.6e12, 35.6e12),
    r"NVIDIA GeForce RTX 3090 Ti": Peak(80e12, 40e12, 40e12),
}


def utilisation(operations: float, seconds: float, card: str, precision: str, *, tf32_allowed: bool) -> float | None:
    """Return the fraction of the card's peak that a step reaches. None for a CPU, an unknown card and a MIG slice.

    Float32 convolutions run in TF32 if that is allowed and the card has it.
    """
    peak = next((peak for name, peak in PEAKS.items() if re.fullmatch(name, card) and " MIG " not in card), None)
    if peak is None:
        return None
    most = peak.bf16 if precision == "bf16" else (tf32_allowed and peak.tf32) or peak.float32
    return operations / seconds / most if most else None
