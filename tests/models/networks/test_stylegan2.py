from typing import Any

import pytest
import torch
from torch import Tensor

from models.configs.execution import Execution
from models.configs.sincut import StyleDiscriminatorConfig, StyleGeneratorConfig
from models.execution import apply_execution
from models.networks.layers import is_channels_last
from models.networks.stylegan2 import StyleDiscriminator, StyleGenerator, fixed_noise
from models.networks.stylegan2_layers import Blur, DoublingConv, ScaledConv, initialise_scaled

THIN = StyleGeneratorConfig(1)


def initialised(network: Any, seed: int = 0) -> Any:
    initialise_scaled(network, torch.Generator().manual_seed(seed))
    return network


def image(*shape: int) -> Tensor:
    return 2 * torch.rand(*shape, generator=torch.Generator().manual_seed(1)) - 1


@pytest.mark.parametrize(("channels", "counts"), [((10, 8), (3_068_404, 5_885_473)), ((2, 2), (123_188, 568_137))])
def test_networks_have_the_weights_of_the_released_ones(channels: tuple[int, int], counts: tuple[int, int]) -> None:
    with torch.device("meta"):
        networks = (
            StyleGenerator(StyleGeneratorConfig(channels[0])),
            StyleDiscriminator(StyleDiscriminatorConfig(channels[1])),
        )
    assert tuple(sum(weight.numel() for weight in network.parameters()) for network in networks) == counts


def test_widths_follow_the_size_of_the_crops() -> None:
    assert StyleGeneratorConfig().widths == (80, 160)
    assert StyleDiscriminatorConfig().widths(64) == [32, 64, 128, 256, 384]
    assert StyleGeneratorConfig(10, 128).widths == (40, 80)
    assert StyleDiscriminatorConfig().widths(128) == [16, 32, 64, 128, 256, 384]
    assert StyleGeneratorConfig(64, 32).widths == (512, 512)


def test_weights_start_normal_and_biases_and_noise_at_nothing() -> None:
    generator = initialised(StyleGenerator(StyleGeneratorConfig(4)))
    matrices = [module.weight.detach().flatten() for module in generator.modules() if hasattr(module, "weight")]
    weights = torch.cat(matrices)
    assert float(weights.mean()) == pytest.approx(0, abs=0.01) and float(weights.std()) == pytest.approx(1, abs=0.01)
    others = [value for name, value in generator.named_parameters() if not name.endswith(".weight")]
    assert len(others) == 18 and not any(bool(value.any()) for value in others)


def test_a_translation_sees_thirty_rows_and_columns_to_each_side_and_no_more() -> None:
    generator = initialised(StyleGenerator(THIN)).double()
    source, noise = image(1, 3, 76, 76).double(), torch.zeros(1, 1, 76, 76, dtype=torch.float64)
    before, reached = generator.translate(source, noise), set[int]()
    for place in (37, 38):
        changed = source.clone()
        changed[..., place, place] += 1
        rows, columns = ((generator.translate(changed, noise) - before)[0].abs().amax(0) > 0).nonzero().T - place
        reached |= {int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())}
    assert (min(reached), max(reached)) == (-30, 30)


def test_noise_matters_once_its_weight_is_not_0_and_is_fixed_unless_given() -> None:
    generator, source = initialised(StyleGenerator(THIN)), image(2, 3, 16, 24)
    noises = [torch.randn(2, 1, 16, 24, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    assert torch.equal(generator.translate(source, noises[0]), generator.translate(source, noises[1]))
    with torch.no_grad():
        generator.stages["up"].noise_weight.fill_(0.5)
    assert not torch.equal(generator.translate(source, noises[0]), generator.translate(source, noises[1]))
    assert torch.equal(generator.translate(source), generator.translate(source))
    assert torch.equal(generator.translate(source), generator.translate(source, fixed_noise(16, 24)))
    torch.testing.assert_close(generator.translate(source)[1:], generator.translate(source[1:]))
    with pytest.raises(ValueError, match=r"noise is \(3, 1, 16, 24\); expected \(2 or 1, 1, 16, 24\)"):
        generator(source, (), torch.zeros(3, 1, 16, 24))


@pytest.mark.parametrize("channels", [(1, 1), (1, 3), (3, 1)])
def test_gray_rectangles_are_translated(channels: tuple[int, int]) -> None:
    generator = initialised(StyleGenerator(THIN, *channels))
    source = image(2, channels[0], 8, 36)
    output, features = generator(source, ("pixels", "down", "res2"))
    assert output.shape == (2, channels[1], 8, 36)
    assert {name: tuple(feature.shape) for name, feature in features.items()} == {
        "pixels": (2, channels[0], 8, 36),
        "down": (2, 16, 4, 18),
        "res2": (2, 16, 4, 18),
    }
    assert all(torch.equal(feature, features[name]) for name, feature in generator.encode(source, features).items())
    with pytest.raises(ValueError, match="multiples of 4"):
        generator(source[..., :-2])


def test_an_encoding_stops_after_its_last_layer() -> None:
    generator = StyleGenerator(THIN)
    run: list[str] = []
    for name, stage in generator.stages.items():
        stage.register_forward_hook(lambda *_, name=name: run.append(name))
    generator.encode(image(1, 3, 8, 8), ("down", "res2"))
    assert "res2" in run and not {"res3", "up", "image"} & set(run)


def test_features_are_in_the_layout_that_is_asked_for() -> None:
    found: set[bool] = set()
    for network in (initialised(StyleGenerator(THIN)), initialised(StyleDiscriminator(StyleDiscriminatorConfig(1)))):
        apply_execution(network, Execution(channels_last=True))
        for module in network.modules():
            if isinstance(module, ScaledConv | DoublingConv | Blur):
                module.register_forward_hook(lambda _, __, output: found.add(is_channels_last(output)))
        network(image(2, 3, 64, 64))
    assert found == {True}


def test_a_blurs_filter_keeps_a_constant_and_halves_or_doubles_it_in_place() -> None:
    x = torch.full((1, 2, 8, 8), 3.0)
    halved = Blur(padding=1, stride=2)(x)
    assert halved.shape == (1, 2, 4, 4)
    torch.testing.assert_close(halved[..., 1:-1, 1:-1], torch.full((1, 2, 2, 2), 3.0))
    assert float(Blur(padding=1, total=4.0).kernel.sum()) == 4
