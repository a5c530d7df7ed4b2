import pytest

from pipeline.hardware.peaks import utilisation

H100, V100 = "NVIDIA H100 80GB HBM3", "Tesla V100-SXM2-16GB"


def test_utilisation_is_the_part_of_the_cards_peak_that_a_step_reaches() -> None:
    # CUT at 256 x 256 in 8 ms: 1.2845e12 operations.
    assert utilisation(1.2845e12, 0.008, H100, "bf16", tf32_allowed=True) == pytest.approx(0.1623, abs=1e-4)
    assert utilisation(1.2845e12, 0.008, H100, "float32", tf32_allowed=True) == pytest.approx(0.3246, abs=1e-4)


@pytest.mark.parametrize(
    "name", ["AMD EPYC", "NVIDIA GeForce GTX 1080 Ti", f"{H100} MIG 1g.10gb", "NVIDIA A100-SXM4-40GB MIG 1g.5gb"]
)
def test_a_cpu_an_unknown_card_and_a_part_of_a_card_have_no_utilisation(name: str) -> None:
    assert utilisation(1e12, 0.01, name, "bf16", tf32_allowed=True) is None


@pytest.mark.parametrize(
    ("name", "bf16"),
    [
        (H100, 989.4e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA H200", 989.4e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A100 80GB PCIe", 312e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA GeForce RTX 4090", 165.2e12),
        ("NVIDIA GeForce RTX 3090", 71.2e12),
    ],
)
def test_cards_are_known_by_the_names_that_cuda_gives_them(name: str, bf16: float) -> None:
    assert utilisation(bf16, 1.0, name, "bf16", tf32_allowed=True) == 1.0


def test_float32_convolutions_are_held_against_tf32_where_the_card_and_the_setting_have_it() -> None:
    assert utilisation(494.7e12, 1.0, H100, "float32", tf32_allowed=True) == 1.0
    assert utilisation(66.9e12, 1.0, H100, "float32", tf32_allowed=False) == 1.0
    assert utilisation(15.7e12, 1.0, V100, "float32", tf32_allowed=True) == 1.0
    assert utilisation(1e12, 1.0, V100, "bf16", tf32_allowed=True) is None
