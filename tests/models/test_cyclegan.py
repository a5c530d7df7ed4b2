from dataclasses import replace

import torch

from models.build import build_objective
from models.configs.cyclegan import CYCLEGAN, CycleGANConfig
from models.configs.images import ImageShape
from models.configs.networks import DiscriminatorConfig, GeneratorConfig
from models.image_pool import ImagePool
from models.objective import Batch, sample_step

TINY = replace(CYCLEGAN, generator=GeneratorConfig(4, 2), discriminator=DiscriminatorConfig(4, 2), pool_size=3)
BATCH = Batch(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16))


def generator_losses(config: CycleGANConfig) -> dict[str, float]:
    objective = build_objective(config, ImageShape(16, 16), torch.Generator().manual_seed(0))
    fakes = objective.generate(BATCH, sample_step(objective, len(BATCH.a), torch.Generator().manual_seed(0)))
    return {name: float(loss.detach()) for name, loss in objective.losses("generator", BATCH, fakes).items()}


def test_weights_of_zero_drop_their_terms() -> None:
    assert set(generator_losses(replace(TINY, identity_weight=0.0))) == {
        "adversarial_a",
        "adversarial_b",
        "cycle_a",
        "cycle_b",
    }
    assert set(generator_losses(replace(TINY, cycle_weight=0.0))) == {"adversarial_a", "adversarial_b"}


def test_identity_weighs_relative_to_the_cycle() -> None:
    half, double = (generator_losses(replace(TINY, identity_weight=weight)) for weight in (0.5, 1.0))
    assert abs(double["identity_a"] / half["identity_a"] - 2) < 1e-5
    assert double["cycle_a"] == half["cycle_a"]


def test_pool_passes_images_through_until_full_and_then_hands_out_earlier_ones() -> None:
    pool, rng = ImagePool(3, (1, 1, 1)), torch.Generator().manual_seed(0)
    fakes = [torch.full((1, 1, 1, 1), float(number)) for number in range(60)]
    returned: list[float] = []
    filled = 0
    for fake in fakes:
        drawn, filled = pool.sample(1, rng, filled)
        returned.append(float(pool.exchange(fake, drawn)))
    assert returned[:3] == [0, 1, 2]
    earlier = [number for number, value in enumerate(returned) if value != number]
    assert all(returned[number] < number for number in earlier)
    assert 15 <= len(earlier) <= 45  # half of the time
    assert len(set(returned[3:])) == len(returned[3:])  # one handed out gives its place away


def test_pool_of_size_zero_passes_everything_through() -> None:
    fake = torch.rand(2, 3, 4, 4)
    pool = ImagePool(0, (3, 4, 4))
    assert torch.equal(pool.exchange(fake, pool.sample(2, torch.Generator(), 0)[0]), fake)


def test_pool_hands_a_fake_to_the_next_of_its_own_batch() -> None:
    pool, rng = ImagePool(1, (1, 1, 1)), torch.Generator().manual_seed(0)
    fakes = torch.arange(40.0)[:, None, None, None]
    returned = pool.exchange(fakes, pool.sample(40, rng, 0)[0]).flatten().tolist()
    assert sorted([*returned[1:], float(pool.images)]) == list(range(40))
    assert any(value != number for number, value in enumerate(returned))


def test_count_of_a_pool_stays_with_the_host() -> None:
    pool = ImagePool(2, (1, 1, 1)).to("meta")
    assert pool.images.is_meta and pool.filled.device.type == "cpu"
