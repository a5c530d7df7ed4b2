from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from models.build import build_objective
from models.configs.cut import CUT
from models.configs.cyclegan import CYCLEGAN
from models.configs.dclgan import DCLGAN
from models.configs.images import ImageShape
from models.configs.model import ModelConfig
from models.configs.networks import DiscriminatorConfig, GeneratorConfig
from models.images import to_bits, with_channels
from models.networks.generator import Generator
from models.objective import Batch, check_batch, sample_step

NETWORKS = {"generator": GeneratorConfig(4, 5), "discriminator": DiscriminatorConfig(4, 2)}
CUT_TINY = replace(CUT, num_patches=8, projection_units=8, **NETWORKS)
MODELS = {
    "cut": CUT_TINY,
    "external": replace(
        CUT_TINY,
        negatives=("external",),
        external=replace(CUT.external, queue_size=8, warmup=8, num_negatives=8),
    ),
    "fastcut": replace(CUT_TINY, identity_weight=0.0, flip_equivariance=True),
    "cyclegan": replace(CYCLEGAN, **NETWORKS),
    "dclgan": replace(DCLGAN, num_patches=8, projection_units=8, **NETWORKS),
}
SHAPE = ImageShape(16, 24)


def images(channels: int, height: int = 16, width: int = 24, count: int = 1) -> Tensor:
    return torch.rand(count, channels, height, width) * 2 - 1


@pytest.mark.parametrize("channels", [(1, 1), (1, 3), (3, 1), (3, 3)])
@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS.keys())
def test_every_model_trains_on_every_pair_of_channels_and_on_rectangles(
    config: ModelConfig, channels: tuple[int, int]
) -> None:
    shape = ImageShape(16, 24, *channels)
    objective = build_objective(config, shape, torch.Generator().manual_seed(0))
    batch = Batch(images(channels[0]), images(channels[1]))
    rng = torch.Generator().manual_seed(0)
    for _ in range(2):  # the second step finds the queue of external negatives filled
        fakes = objective.generate(batch, sample_step(objective, 1, rng))
    for phase in objective.phases:
        losses = objective.losses(phase, batch, fakes)
        torch.stack(list(losses.values())).sum().backward()
        assert all(bool(loss.isfinite()) for loss in losses.values())
        assert all(parameter.grad is not None for parameter in objective.parameters_of(phase))
    assert objective.translator.translate(batch.a).shape == (1, channels[1], 16, 24)


def test_channels_are_turned_into_each_other_as_pillow_does() -> None:
    gray, coloured = images(1), images(3)
    assert torch.equal(with_channels(with_channels(gray, 3), 3)[:, 2:], gray)
    torch.testing.assert_close(with_channels(with_channels(gray, 3), 1), gray)
    expected = 0.299 * coloured[:, 0] + 0.587 * coloured[:, 1] + 0.114 * coloured[:, 2]
    torch.testing.assert_close(with_channels(coloured, 1)[:, 0], expected)
    with pytest.raises(ValueError, match=r"\(1, 2, 16, 24\); only 1 and 3"):
        with_channels(images(2), 3)


def test_truncated_8_bits_are_the_reference_codes() -> None:
    values = torch.cat([torch.linspace(-1.2, 1.2, 100_001), torch.arange(256) / 127.5 - 1])
    # util.tensor2im of the reference, in its order of operations.
    expected = ((values.clamp(-1.0, 1.0).numpy() + 1) / 2.0 * 255.0).astype(np.uint8)
    truncated, rounded = (to_bits(values, torch.uint8, by) for by in ("truncate", "round"))
    assert np.array_equal(truncated.numpy(), expected)
    lower = (rounded.int() - truncated.int())[:100_001]
    assert set(lower.tolist()) == {0, 1}
    assert float(lower.float().mean()) == pytest.approx(0.5 * 2 / 2.4, abs=0.01)  # half of those within [-1, 1]


def spoiled(value: float) -> Tensor:
    image = images(3)
    image[0, 1, 2, 3] = value
    return image


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (images(3)[0], images(3), r"a is \(3, 16, 24\); expected \(batch, 3, height, width\)"),
        (images(1), images(3), r"a is \(1, 1, 16, 24\); expected \(batch, 3, height, width\)"),
        (images(3), images(4), r"b is \(1, 4, 16, 24\); expected \(batch, 3, height, width\)"),
        (images(3, 18), images(3), r"a is \(1, 3, 18, 24\); .* multiples of 4"),
        (images(3, 4), images(3), r"a is \(1, 3, 4, 24\); height and width .* at least 8"),
        (images(3, 32), images(3), r"a is of 32 x 24; expected 16 x 24"),
        (images(3, count=2), images(3), r"a holds 2 images and b holds 1"),
        (spoiled(torch.nan), images(3), r"a holds 1 values that are not finite; expected \[-1, 1\]"),
        (images(3), spoiled(torch.inf), r"b holds 1 values that are not finite"),
        (images(3).byte(), images(3), r"a is .* of torch.uint8; expected floating point in \[-1, 1\]"),
    ],
)
@pytest.mark.parametrize("config", [CUT_TINY, MODELS["cyclegan"]], ids=["cut", "cyclegan"])
def test_batches_that_cannot_be_are_refused_by_the_tensors_name(
    config: ModelConfig, a: Tensor, b: Tensor, said: str
) -> None:
    objective = build_objective(config, SHAPE, torch.Generator())
    with pytest.raises(ValueError, match=said):
        check_batch(Batch(a, b), objective.shape)


def test_generator_refuses_what_it_cannot_translate() -> None:
    generator = Generator(GeneratorConfig(4, 1), in_channels=1)
    for image, said in (
        (images(3), "expected \\(batch, 1"),
        (images(1, 18), "multiples of 4"),
        (images(1) / 0, "finite"),
    ):
        with pytest.raises(ValueError, match=said):
            generator.translate(image)
    with pytest.raises(ValueError, match="multiples of 4"):
        generator.encode(images(1, 18), ["pixels"])
