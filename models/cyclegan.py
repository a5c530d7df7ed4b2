"""The CycleGAN baseline: two GANs with opposite directions."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import register_dataclass

from models.configs.cyclegan import CycleGANConfig
from models.configs.images import ImageShape
from models.image_pool import ImagePool, PoolChoices
from models.images import with_channels
from models.losses import lsgan
from models.networks.discriminator import Discriminator, score
from models.networks.generator import Generator
from models.networks.layers import initialise
from models.objective import ALONE, Batch, Counts, Ranks, frozen


@dataclass(frozen=True)
class CycleGANRandomness:
    """What the pools do with a step's fakes."""

    pool_b: PoolChoices
    pool_a: PoolChoices


register_dataclass(CycleGANRandomness)


@dataclass(frozen=True)
class CycleGANFakes:
    """Translations, the same translated back, and the pools' images for the discriminators; each (B, C, H, W)."""

    b: Tensor
    a: Tensor
    a_again: Tensor
    b_again: Tensor
    pooled_b: Tensor
    pooled_a: Tensor


class CycleGANObjective(nn.Module):
    """CycleGAN. Updates both generators, then both discriminators, which see fakes through pools."""

    phases = ("generator", "discriminator")

    def __init__(self, config: CycleGANConfig, shape: ImageShape, rng: torch.Generator) -> None:
        super().__init__()
        self.config, self.shape = config, shape
        self.a_to_b = Generator(config.generator, shape.channels_a, shape.channels_b)
        self.b_to_a = Generator(config.generator, shape.channels_b, shape.channels_a)
        self.judge_b = Discriminator(config.discriminator, shape.channels_b)
        self.judge_a = Discriminator(config.discriminator, shape.channels_a)
        for network in (self.a_to_b, self.b_to_a, self.judge_b, self.judge_a):
            initialise(network, rng)
        self.pool_b = ImagePool(config.pool_size, (shape.channels_b, shape.height, shape.width))
        self.pool_a = ImagePool(config.pool_size, (shape.channels_a, shape.height, shape.width))

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        match phase:
            case "generator":
                return [*self.a_to_b.parameters(), *self.b_to_a.parameters()]
            case "discriminator":
                return [*self.judge_b.parameters(), *self.judge_a.parameters()]
            case _:
                raise ValueError(f"CycleGAN has no phase {phase!r}; it has {', '.join(self.phases)}")

    @property
    def translator(self) -> Generator:
        return self.a_to_b

    @property
    def counts(self) -> Counts:
        return {"pool_b": int(self.pool_b.filled), "pool_a": int(self.pool_a.filled)}

    def set_counts(self, counts: Counts) -> None:
        self.pool_b.filled.fill_(counts["pool_b"])
        self.pool_a.filled.fill_(counts["pool_a"])

    def sample_randomness(
        self, size: int, rng: torch.Generator, counts: Counts, progress: float = 0.0
    ) -> tuple[CycleGANRandomness, Counts]:
        pool_b, filled_b = self.pool_b.sample(size, rng, counts["pool_b"])
        pool_a, filled_a = self.pool_a.sample(size, rng, counts["pool_a"])
        return CycleGANRandomness(pool_b, pool_a), {"pool_b": filled_b, "pool_a": filled_a}

    def generate(self, batch: Batch, randomness: CycleGANRandomness, ranks: Ranks = ALONE) -> CycleGANFakes:
        b, _ = self.a_to_b(batch.a)
        a, _ = self.b_to_a(batch.b)
        a_again, _ = self.b_to_a(b)
        b_again, _ = self.a_to_b(a)
        pooled_b = ranks.own(self.pool_b.exchange(ranks.gather(b), randomness.pool_b))
        pooled_a = ranks.own(self.pool_a.exchange(ranks.gather(a), randomness.pool_a))
        return CycleGANFakes(b, a, a_again, b_again, pooled_b, pooled_a)

    def losses(self, phase: str, batch: Batch, fakes: CycleGANFakes) -> dict[str, Tensor]:
        match phase:
            case "generator":
                with frozen(self.judge_b, self.judge_a):
                    adversarial = {
                        "adversarial_b": lsgan(self.judge_b(fakes.b), real=True),
                        "adversarial_a": lsgan(self.judge_a(fakes.a), real=True),
                    }
                return {**adversarial, **self._cycle_losses(batch, fakes), **self._identity_losses(batch)}
            case "discriminator":
                real_b, fake_b = score(self.judge_b, batch.b, fakes.pooled_b)
                real_a, fake_a = score(self.judge_a, batch.a, fakes.pooled_a)
                return {
                    "real_b": 0.5 * lsgan(real_b, real=True),
                    "fake_b": 0.5 * lsgan(fake_b, real=False),
                    "real_a": 0.5 * lsgan(real_a, real=True),
                    "fake_a": 0.5 * lsgan(fake_a, real=False),
                }
            case _:
                raise ValueError(f"CycleGAN has no phase {phase!r}; it has {', '.join(self.phases)}")

    def _cycle_losses(self, batch: Batch, fakes: CycleGANFakes) -> dict[str, Tensor]:
        weight = self.config.cycle_weight
        if weight == 0:
            return {}
        return {
            "cycle_a": weight * F.l1_loss(fakes.a_again, batch.a),
            "cycle_b": weight * F.l1_loss(fakes.b_again, batch.b),
        }

    def _identity_losses(self, batch: Batch) -> dict[str, Tensor]:
        weight = self.config.cycle_weight * self.config.identity_weight
        if weight == 0:
            return {}
        b_as_a = with_channels(batch.b, self.shape.channels_a)
        a_as_b = with_channels(batch.a, self.shape.channels_b)
        return {
            "identity_b": weight * F.l1_loss(self.a_to_b(b_as_a)[0], batch.b),
            "identity_a": weight * F.l1_loss(self.b_to_a(a_as_b)[0], batch.a),
        }
