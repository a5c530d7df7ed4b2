import pytest
import torch

from models.configs.fit import map_positions
from models.configs.images import ImageShape
from models.configs.networks import DiscriminatorConfig, GeneratorConfig
from models.networks.discriminator import Discriminator
from models.networks.generator import Generator

CONFIGS = [GeneratorConfig(4, 5), GeneratorConfig(4, 5, antialias=False)]


@pytest.mark.parametrize("config", CONFIGS)
def test_features_of_the_translation_equal_those_of_encoding_again(config: GeneratorConfig) -> None:
    generator, image = Generator(config), torch.rand(2, 3, 16, 24)
    layers = list(config.layer_channels())
    translated, features = generator(image, layers)
    again = generator.encode(image, layers)
    assert translated.shape == image.shape
    assert list(features) == list(again) == layers
    assert all(torch.equal(features[layer], again[layer]) for layer in layers)


@pytest.mark.parametrize("config", CONFIGS)
def test_layers_have_the_channels_and_positions_that_are_declared(config: GeneratorConfig) -> None:
    _, features = Generator(config)(torch.rand(1, 3, 16, 24), config.layer_channels())
    declared = map_positions(config, ImageShape(16, 24))
    for layer, channels in config.layer_channels().items():
        assert features[layer].shape[1] == channels
        assert features[layer].shape[2:].numel() == declared[layer]


def test_encoding_stops_after_the_last_layer() -> None:
    generator = Generator(GeneratorConfig(4, 5))
    generator.stages["res1"].register_forward_hook(lambda *_: pytest.fail("ran past the last layer"))
    assert list(generator.encode(torch.rand(1, 3, 16, 16), ["pixels", "down2"])) == ["pixels", "down2"]


@pytest.mark.parametrize("antialias", [True, False])
def test_discriminator_of_three_layers_sees_70_pixels(antialias: bool) -> None:
    discriminator = Discriminator(DiscriminatorConfig(4, 3, antialias))
    # Normalisation looks at the whole image; the receptive field is that of the convolutions.
    layers = [layer for layer in discriminator.layers if type(layer).__name__ != "InstanceNorm"]
    image = torch.rand(1, 3, 256, 256, requires_grad=True)
    scores = torch.nn.Sequential(*layers)(image)
    (gradient,) = torch.autograd.grad(scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2], image)
    seen = gradient[0].abs().sum(0).nonzero()
    extent = int((seen.max(0).values - seen.min(0).values + 1).max())
    assert extent == 70 if not antialias else 70 <= extent <= 90
