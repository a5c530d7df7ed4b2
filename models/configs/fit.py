"""Whether a model of some settings can train on images of some shape, and what it stores. Nothing here needs torch."""

from collections.abc import Mapping
from itertools import pairwise

from models.configs.cut import NEGATIVE_SOURCES, CUTConfig, domain_weights
from models.configs.cyclegan import CycleGANConfig
from models.configs.dclgan import DCLGANConfig
from models.configs.images import ImageShape
from models.configs.model import ModelConfig
from models.configs.networks import DiscriminatorConfig, GeneratorConfig
from models.configs.sincut import STYLE_BLOCKS, SinCUTConfig, StyleGeneratorConfig

# Of all weights, queues and pools together: 2 GB in float32. CUT stores 15 million, 64 million with external negatives.
MOST_STORED = 500_000_000
# Positions of a layer with attention: the residual blocks of an image of 512 x 512.
MOST_ATTENDING = 16_384


def map_positions(config: GeneratorConfig, shape: ImageShape) -> dict[str, int]:
    """Return the positions (rows x columns) of each layer's feature map, for images of that shape.

    With anti-aliasing, a down-sampling convolution keeps the size, and the blur after it halves it. Without, the
    convolution itself has stride 2.
    """
    full, half, quarter = (shape.height * shape.width // 4**halvings for halvings in range(3))
    down1, down2 = (full, half) if config.antialias else (half, quarter)
    shallow = {"pixels": (shape.height + 6) * (shape.width + 6), "stem": full, "down1": down1, "down2": down2}
    return {layer: shallow.get(layer, quarter) for layer in config.layer_channels()}


def style_positions(config: StyleGeneratorConfig, shape: ImageShape) -> dict[str, int]:
    """Return the same for SinCUT's generator, which halves the size once."""
    full = shape.height * shape.width
    return {layer: full if layer in ("pixels", "stem") else full // 4 for layer in config.layer_channels()}


def score_map_size(config: DiscriminatorConfig, size: int) -> int:
    """Return the rows of the discriminator's scores for an image of `size` rows; below 1 if the image is too small."""
    for _ in range(config.layers):
        # A 4 x 4 convolution with padding 1: of stride 2, or of stride 1 before a blur that halves and rounds up.
        size = size // 2 if config.antialias else (size - 2) // 2 + 1
        # Reflection padding needs two rows, normalisation more than one value.
        if size < 2:
            return 0
    return size - 2


def stored_numbers(config: ModelConfig, shape: ImageShape) -> dict[str, int]:
    """Return how many numbers each part of a model stores at most, by the settings that decide on it.

    Biases are left out.
    """
    if isinstance(config, SinCUTConfig):
        return _sincut_numbers(config)
    thin, layers = config.generator.channels, config.discriminator.layers
    # Two convolutions of 7 x 7, two that halve and two that double the size, and two of 3 x 3 in each block.
    generator = 2 * 49 * 3 * thin + 9 * 20 * thin**2 + 2 * 9 * (4 * thin) ** 2 * config.generator.blocks
    widths = [3, *(config.discriminator.channels * min(2**layer, 8) for layer in range(layers + 1)), 1]
    discriminator = 16 * sum(inputs * outputs for inputs, outputs in pairwise(widths))
    match config:
        case CUTConfig():
            channels, units = config.generator.layer_channels(), config.projection_units
            heads = sum(units * (channels[place] + units) for place in config.places)
            # Momentum copies of encoder and heads, and a queue for each domain and layer.
            external = config.keeps_queues
            queues = len(domain_weights(config)) * len(config.places) * config.external.queue_size
            generating = config.generates_negatives
            makers = len(config.places) * units * (2 * units + config.generated.noise_size)
            return {
                "generator.channels or generator.blocks": generator * (1 + external),
                "discriminator.channels or discriminator.layers": discriminator,
                "projection_units": heads * (1 + external + generating) + makers * generating,
                "external.queue_size or projection_units": queues * units * external,
            }
        case CycleGANConfig():
            return {
                "generator.channels or generator.blocks": 2 * generator,
                "discriminator.channels or discriminator.layers": 2 * discriminator,
                "pool_size": config.pool_size * shape.height * shape.width * (shape.channels_a + shape.channels_b),
            }
        case DCLGANConfig():
            channels, units = config.generator.layer_channels(), config.projection_units
            return {
                "generator.channels or generator.blocks": 2 * generator,
                "discriminator.channels or discriminator.layers": 2 * discriminator,
                "projection_units": 2 * sum(units * (channels[place] + units) for place in config.places),
            }


def _sincut_numbers(config: SinCUTConfig) -> dict[str, int]:
    """Return SinCUT's parts for `stored_numbers`."""
    thin, deep = config.generator.widths
    # Of each block that halves: two convolutions of 3 x 3, and one of 1 x 1.
    halving = 9 * thin**2 + 10 * thin * deep
    generator = 2 * 3 * thin + halving + 2 * 9 * STYLE_BLOCKS * deep**2 + 9 * deep * thin
    widths = config.discriminator.widths(config.generator.start_size)
    halvings = sum(9 * inputs**2 + 10 * inputs * outputs for inputs, outputs in pairwise(widths))
    discriminator = 3 * widths[0] + halvings + (9 + 16) * widths[-1] ** 2 + widths[-1]
    channels, units = config.generator.layer_channels(), config.projection_units
    return {
        "generator.channels": generator,
        "discriminator.channels": discriminator,
        "projection_units": sum(units * (channels[place] + units) for place in config.places),
    }


def misfits(config: ModelConfig, shape: ImageShape, batch_size: int) -> list[str]:
    """Return why this model cannot train on batches of images of this shape, and what to change; nothing if it can."""
    height, width = shape.height, shape.width
    found: list[str] = []
    if height % 4 or width % 4:
        found.append(f"images are {height} x {width}; height and width must be multiples of 4")
    stored = stored_numbers(config, shape)
    if (total := sum(stored.values())) > MOST_STORED:
        found.append(
            f"the model would store {total:,} numbers ({4 * total / 1e9:.1f} GB), and at most {MOST_STORED:,} are "
            f"allowed; lower {max(stored, key=lambda part: stored[part])}"
        )
    if isinstance(config, SinCUTConfig):
        return found + _sincut_misfits(config, shape, batch_size)
    if score_map_size(config.discriminator, min(height, width)) < 1:
        found.append(
            f"images of {height} x {width} are too small for discriminator.layers={config.discriminator.layers}; "
            "lower the layers or enlarge the images"
        )
    match config:
        case CUTConfig() if domain_weights(config):
            positions = map_positions(config.generator, shape)
            found += _unfit_negatives(config, batch_size)
            found += _unfit_attention(config, positions)
            found += _few_positions(config, positions, shape)
        case DCLGANConfig() if config.nce_weight > 0:
            found += _unfit_negatives(config.contrast, batch_size)
            found += _few_positions(config.contrast, map_positions(config.generator, shape), shape)
        case _:
            pass
    return found


def _unfit_negatives(config: CUTConfig, batch_size: int) -> list[str]:
    """Return why there are too few negatives."""
    if "minibatch" in config.negatives and batch_size == 1:
        return ["minibatch negatives need train.batch_size > 1 (with 1 they equal internal ones); use external"]
    if config.negatives == ("internal",) and config.num_patches == 1:
        return ["num_patches is 1, so no patch has another one of its image as a negative; set it to 2 or more"]
    if config.weighting != "top_k" or not set(config.negatives) <= set(NEGATIVE_SOURCES):
        return []
    count = sum(config.count_negatives(source, batch_size) for source in config.negatives)
    if config.top_k > count:
        return [f"top_k is {config.top_k}, but a query has {count} negatives; set model.top_k={count} or less"]
    return []


def _unfit_attention(config: CUTConfig, positions: dict[str, int]) -> list[str]:
    """Return which layers are too large for attention. Its entropies take operations by the square of the positions."""
    if config.queries != "attention":
        return []
    large = {layer: positions[layer] for layer in config.attention.layers if positions[layer] > MOST_ATTENDING}
    return [
        f"attention.layers names {layer}, whose {count:,} positions are all compared with each other: "
        f"{4 * count**2 / 1e9:.1f} GB of products for each image. At most {MOST_ATTENDING:,} positions are allowed; "
        "name deeper layers or use smaller images"
        for layer, count in large.items()
    ]


def _sincut_misfits(config: SinCUTConfig, shape: ImageShape, batch_size: int) -> list[str]:
    """Return SinCUT's own reasons for `misfits`."""
    height, width, start_size = shape.height, shape.width, config.generator.start_size
    found: list[str] = []
    if height != start_size or width != start_size:
        found.append(
            f"images are {height} x {width}, but SinCUT's networks are for crops of {start_size} x {start_size}; set "
            f"data.size={start_size}, or model.generator.start_size to the crops' size"
        )
    if config.domain_weights:
        if batch_size == 1:
            found.append("SinCUT's negatives are those of the batch, so it needs train.batch_size > 1")
        found += _few_positions(config, style_positions(config.generator, shape), shape)
    return found


def _few_positions(config: CUTConfig | SinCUTConfig, positions: Mapping[str, int], shape: ImageShape) -> list[str]:
    """Return which layers have fewer positions than patches."""
    few = {layer: positions[layer] for layer in config.places if positions[layer] < config.num_patches}
    if not few:
        return []
    each = " and ".join(f"{layer} has {count} positions" for layer, count in few.items())
    return [
        f"num_patches is {config.num_patches}, but {each} in an image of {shape.height} x {shape.width}; "
        f"set model.num_patches={min(few.values())} or less, or drop the layer"
    ]
