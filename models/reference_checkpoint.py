"""The reference code's checkpoints: read, with every setting inferred from the weights, and written.

CUT saves G, D and F, CycleGAN G_A, G_B, D_A and D_B, each in a file of its own (latest_net_G.pth): a dict of
tensors, 'model.4.weight' and the like, numbered by position in a Sequential. Our networks run the same modules in the
same order, so a name follows from counting them. `path` is what an error calls the file.
"""

import re
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from models.configs import DiscriminatorConfig, GeneratorConfig
from models.cut import CUTObjective
from models.cyclegan import CycleGANObjective
from models.networks.discriminator import Discriminator
from models.networks.generator import Generator, ResidualBlock
from models.networks.projector import Projector
from models.networks.weights import load_weights, named_tensors

Weights = Mapping[str, Tensor]
Network = Generator | Discriminator | Projector
RESIDUAL_BLOCK = r"model\.(\d+)\.conv_block\."

# Files of torch 0.3 hold these of instance norms that never used them; the reference code drops them too.
UNUSED_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def reference_networks(objective: CUTObjective | CycleGANObjective) -> dict[str, Network]:
    """An objective's networks under the reference code's names. D_A judges B, as there."""
    match objective:
        case CUTObjective():
            return {"G": objective.generator, "D": objective.discriminator, "F": objective.projector}
        case CycleGANObjective():
            return {
                "G_A": objective.a_to_b,
                "G_B": objective.b_to_a,
                "D_A": objective.judge_b,
                "D_B": objective.judge_a,
            }


def reference_weights(network: Network) -> dict[str, Tensor]:
    """The network's weights, on the CPU, as the reference code would have saved them."""
    state = network.state_dict()
    return {name: state[ours].detach().cpu() for ours, name in _names(network).items()}


def load_reference_weights(network: Network, weights: Weights, path: str) -> None:
    """Give a network of ours the reference code's weights. Raises ValueError where they do not fit it."""
    load_weights(network, weights, path, _names(network))


def reference_tensors(content: object, path: str) -> dict[str, Tensor]:
    """The tensors of one network, from what torch.load gave. Raises ValueError for content of another kind."""
    tensors = named_tensors(content, path)
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(UNUSED_STATISTICS)}


def read_generator(weights: Weights, path: str) -> Generator:
    """The generator that the weights are of: channels, blocks and anti-aliasing as found in them."""
    _require_kind("a generator", weights, path)
    stem = _tensor(weights, "model.1.weight", path)
    image = _tensor(weights, f"model.{_last_number(weights)}.weight", path)
    blocks = {found[1] for name in weights if (found := re.match(RESIDUAL_BLOCK, name))}
    config = GeneratorConfig(stem.shape[0], len(blocks), _is_antialiased(weights))
    generator = Generator(config, stem.shape[1], image.shape[0])
    load_reference_weights(generator, weights, path)
    return generator


def read_discriminator(weights: Weights, path: str) -> Discriminator:
    """The PatchGAN that the weights are of: channels, layers and anti-aliasing as found in them."""
    _require_kind("a discriminator", weights, path)
    first = _tensor(weights, "model.0.weight", path)
    convolutions = sum(name.endswith(".weight") for name in weights)
    config = DiscriminatorConfig(first.shape[0], max(1, convolutions - 2), _is_antialiased(weights))
    discriminator = Discriminator(config, first.shape[1])
    load_reference_weights(discriminator, weights, path)
    return discriminator


def read_projector(weights: Weights, layers: Sequence[str], path: str) -> Projector:
    """The heads that the weights are of. At which layers they stand the file does not say: name as many as it holds."""
    _require_kind("heads", weights, path)
    count = len({name.split(".")[0] for name in weights})
    if count != len(layers):
        raise ValueError(f"{path}: holds {count} heads; expected {len(layers)}, for {', '.join(layers)}")
    firsts = {name: _tensor(weights, f"mlp_{number}.0.weight", path) for number, name in enumerate(layers)}
    units = {first.shape[0] for first in firsts.values()}
    projector = Projector({name: first.shape[1] for name, first in firsts.items()}, max(units))
    load_reference_weights(projector, weights, path)
    return projector


def layers_of(nce_layers: str, generator: Generator) -> tuple[str, ...]:
    """The reference code's --nce_layers ('0,4,8,12,16') as layers. Raises ValueError for a number that is none."""
    numbers = _stage_numbers(generator)
    layers = {str(numbers[layer][-1]): layer for layer in generator.config.layer_channels()}
    asked = nce_layers.split(",")
    unknown = [number for number in asked if number not in layers]
    if unknown:
        raise ValueError(
            f"nce_layers: {', '.join(unknown)} is no layer of this generator; expected {', '.join(layers)}"
        )
    # In running order, as the reference code numbers its heads, however they were listed.
    return tuple(layer for number, layer in layers.items() if number in asked)


def _names(network: Network) -> dict[str, str]:
    """The reference code's name of each tensor of the network's state."""
    prefixes = _prefixes(network)
    names: dict[str, str] = {}
    for ours in network.state_dict():
        prefix = next(prefix for prefix in prefixes if ours.startswith(f"{prefix}."))
        names[ours] = prefixes[prefix] + ours.removeprefix(prefix)
    return names


def _prefixes(network: Network) -> dict[str, str]:
    """What the reference code calls our modules."""
    match network:
        case Generator():
            return _generator_prefixes(network)
        case Discriminator():
            return {f"layers.{number}": f"model.{number}" for number in range(len(network.layers))}
        case Projector():
            return {f"heads.{layer}": f"mlp_{number}" for number, layer in enumerate(network.heads)}


def _generator_prefixes(generator: Generator) -> dict[str, str]:
    prefixes: dict[str, str] = {}
    for stage, numbers in _stage_numbers(generator).items():
        match generator.stages[stage]:
            case ResidualBlock():
                prefixes[f"stages.{stage}.branch"] = f"model.{numbers[0]}.conv_block"
            case nn.Sequential():
                prefixes |= {f"stages.{stage}.{inner}": f"model.{number}" for inner, number in enumerate(numbers)}
            case _:
                prefixes[f"stages.{stage}"] = f"model.{numbers[0]}"
    return prefixes


def _stage_numbers(generator: Generator) -> dict[str, range]:
    """The numbers that each stage's modules have in the reference code's one Sequential."""
    numbers: dict[str, range] = {}
    first = 0
    for stage, module in generator.stages.items():
        behind = first + (len(module) if isinstance(module, nn.Sequential) else 1)
        numbers[stage] = range(first, behind)
        first = behind
    return numbers


def _require_kind(wanted: str, weights: Weights, path: str) -> None:
    if any(re.match(RESIDUAL_BLOCK, name) for name in weights):
        found = "a generator"
    elif any(name.startswith("mlp_") for name in weights):
        found = "heads"
    elif "model.0.weight" in weights:
        found = "a discriminator"
    else:
        found = f"tensors that the reference code's networks have not ({next(iter(weights))}, …)"
    if found != wanted:
        example = {
            "a generator": "latest_net_G.pth",
            "a discriminator": "latest_net_D.pth",
            "heads": "latest_net_F.pth",
        }
        raise ValueError(f"{path}: holds {found}; expected {wanted}, as in {example[wanted]}")


def _tensor(weights: Weights, name: str, path: str) -> Tensor:
    if name not in weights or weights[name].dim() < 2 or weights[name].numel() == 0:
        raise ValueError(f"{path}: {name} is missing or no matrix; expected the weight of a layer")
    return weights[name]


def _last_number(weights: Weights) -> int:
    return max(int(found[1]) for name in weights if (found := re.match(r"model\.(\d+)\.", name)))


def _is_antialiased(weights: Weights) -> bool:
    return any(name.endswith(".filt") for name in weights)
