"""Read and write the reference code's checkpoints. All settings are inferred from the weights.

CUT and SinCUT save G, D and F. CycleGAN saves G_A, G_B, D_A and D_B, and DCLGAN F1 and F2 besides. Each network has its
file (latest_net_G.pth): a dict of tensors such as 'model.4.weight', numbered by position in a Sequential. Our networks
run the same modules in the same order, so counting the modules gives the names. SinCUT's G and D have other names,
which `sincut_checkpoint` knows. `path` is the file's name in errors.

Others save the same networks with a prefix before every name (DataParallel's 'module.', the compiler's '_orig_mod.'),
or as one entry of a dict ('state_dict', 'netG'). `reference_tensors` takes both away.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from models.build import AnyObjective
from models.configs.networks import DiscriminatorConfig, GeneratorConfig
from models.cut import CUTObjective
from models.cyclegan import CycleGANObjective
from models.dclgan import DCLGANObjective
from models.networks.any_generator import AnyGenerator
from models.networks.discriminator import Discriminator
from models.networks.generator import Generator, ResidualBlock
from models.networks.projector import Projector
from models.networks.stylegan2 import StyleDiscriminator, StyleGenerator
from models.networks.weights import load_weights, matrix_in, named_tensors
from models.reference.sincut_checkpoint import DISCRIMINATOR, ENCODER, read_sincut_generator, sincut_names
from models.sincut import SinCUTObjective

Sizes = TypeVar("Sizes")
Weights = Mapping[str, Tensor]
Network = Generator | Discriminator | Projector | StyleGenerator | StyleDiscriminator
# Its --netG is resnet_4blocks, resnet_6blocks or resnet_9blocks.
REFERENCE_BLOCKS = (4, 6, 9)
RESIDUAL_BLOCK = r"model\.(\d+)\.conv_block\."
# Where the reference code's name begins in a name with a prefix.
NAME = re.compile(r"(?:^|\.)(model\.\d|mlp_\d|(?:encoder\.|decoder\.|)convs\.\d|final_(?:conv|linear)\.\d)")

# Files of torch 0.3 hold these for instance norms, which never used them. The reference code drops them too.
UNUSED_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def reference_networks(objective: AnyObjective) -> dict[str, Network]:
    """Return an objective's networks by the reference code's names. As there, D_A scores images of B."""
    match objective:
        case CUTObjective() | SinCUTObjective():
            return {"G": objective.generator, "D": objective.discriminator, "F": objective.projector}
        case CycleGANObjective():
            return _of_two_directions(objective)
        case DCLGANObjective():
            return {**_of_two_directions(objective), "F1": objective.heads_a, "F2": objective.heads_b}


def _of_two_directions(objective: CycleGANObjective | DCLGANObjective) -> dict[str, Network]:
    return {
        "G_A": objective.a_to_b,
        "G_B": objective.b_to_a,
        "D_A": objective.judge_b,
        "D_B": objective.judge_a,
    }


def reference_weights(network: Network) -> dict[str, Tensor]:
    """Return the network's weights on the CPU, with the names of the reference code."""
    state = network.state_dict()
    return {name: state[ours].detach().cpu() for ours, name in _names(network).items()}


def load_reference_weights(network: Network, weights: Weights, path: str) -> None:
    """Load the reference code's weights into our network. Raises ValueError if they do not fit."""
    load_weights(network, weights, path, _names(network))


def reference_tensors(content: object, path: str) -> dict[str, Tensor]:
    """Return one network's tensors from what torch.load gave. Raises ValueError for anything else.

    Of several networks in the file, the only generator is meant.
    """
    tensors = _without_shared_prefix(_network_in(content, path))
    _refuse_other_norms(tensors, path)
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(UNUSED_STATISTICS)}


def read_generator(weights: Weights, path: str) -> AnyGenerator:
    """Build the generator of the weights. They give its kind, channels, blocks and anti-aliasing."""
    _require_kind("a generator", weights, path)
    if _holds_sincut_generator(weights):
        return read_sincut_generator(weights, path)
    return _read_resnet(weights, path)


def _read_resnet(weights: Weights, path: str) -> Generator:
    stem = matrix_in(weights, "model.1.weight", path)
    image = matrix_in(weights, f"model.{_last_number(weights)}.weight", path)
    blocks = {int(found[1]) for name in weights if (found := re.match(RESIDUAL_BLOCK, name))}
    filters = [int(name.split(".")[1]) for name in weights if re.fullmatch(r"model\.\d+\.filt", name)]
    down, up = any(number < min(blocks) for number in filters), any(number > max(blocks) for number in filters)
    config = _sized(lambda: GeneratorConfig(stem.shape[0], len(blocks), down), path)
    # Takes no memory until the weights are known to fit, since a file of few bytes may ask for any size.
    with torch.device("meta"):
        generator = Generator(config, stem.shape[1], image.shape[0], antialias_up=up)
    load_reference_weights(generator, weights, path)
    return generator


def read_discriminator(weights: Weights, path: str) -> Discriminator:
    """Build the PatchGAN of the weights. They give its channels, layers and anti-aliasing."""
    _require_kind("a discriminator", weights, path)
    first = matrix_in(weights, "model.0.weight", path)
    convolutions = sum(name.endswith(".weight") for name in weights)
    layers, antialias = max(1, convolutions - 2), _is_antialiased(weights)
    config = _sized(lambda: DiscriminatorConfig(first.shape[0], layers, antialias), path)
    discriminator = Discriminator(config, first.shape[1])
    load_reference_weights(discriminator, weights, path)
    return discriminator


def read_projector(weights: Weights, layers: Sequence[str], path: str) -> Projector:
    """Build the MLP heads of the weights. The file does not name their layers, so `layers` must name as many."""
    _require_kind("heads", weights, path)
    count = len({name.split(".")[0] for name in weights})
    if count != len(layers):
        raise ValueError(f"{path}: holds {count} heads; expected {len(layers)}, for {', '.join(layers)}")
    firsts = {name: matrix_in(weights, f"mlp_{number}.0.weight", path) for number, name in enumerate(layers)}
    units = {first.shape[0] for first in firsts.values()}
    projector = Projector({name: first.shape[1] for name, first in firsts.items()}, max(units))
    load_reference_weights(projector, weights, path)
    return projector


def layers_of(nce_layers: str, generator: Generator) -> tuple[str, ...]:
    """Convert the reference code's --nce_layers ('0,4,8,12,16') to our names. Raises ValueError for a wrong number."""
    numbers = _stage_numbers(generator)
    layers = {str(numbers[layer][-1]): layer for layer in generator.config.layer_channels()}
    asked = nce_layers.split(",")
    unknown = [number for number in asked if number not in layers]
    if unknown:
        raise ValueError(
            f"nce_layers: {', '.join(unknown)} is no layer of this generator; expected {', '.join(layers)}"
        )
    # In running order, because the reference code numbers its heads so in any case.
    return tuple(layer for number, layer in layers.items() if number in asked)


def _network_in(content: object, path: str) -> dict[str, Tensor]:
    """Return the named tensors of the file, or those of its only entry that holds a network."""
    found = {str(name): entry for name, entry in _entries(content).items() if _is_network(entry)}
    networks = {name: named_tensors(entry, path) for name, entry in found.items()} or {"": named_tensors(content, path)}
    if len(networks) > 1:
        generators = [name for name, tensors in networks.items() if _holds_generator(tensors)]
        if len(generators) != 1:
            names = ", ".join(generators or networks)
            raise ValueError(f"{path}: holds several networks ({names}); save the one that is meant in its own file")
        return networks[generators[0]]
    return next(iter(networks.values()))


def _entries(content: object) -> dict[object, object]:
    return cast(dict[object, object], content) if isinstance(content, dict) else {}


def _is_network(entry: object) -> bool:
    return any(isinstance(name, str) and NAME.search(name) for name in _entries(entry))


def _holds_generator(tensors: Weights) -> bool:
    return _holds_sincut_generator(tensors) or any(re.search(RESIDUAL_BLOCK, name) for name in tensors)


def _holds_sincut_generator(tensors: Weights) -> bool:
    return any(ENCODER in name for name in tensors)


def _without_shared_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take away what stands before 'model.4.weight' in all names, such as 'module._orig_mod.'."""
    found = NAME.search(next(iter(tensors)))
    prefix = found.string[: found.start(1)] if found else ""
    if not all(name.startswith(prefix) for name in tensors):
        return tensors
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def _refuse_other_norms(tensors: Weights, path: str) -> None:
    """Raise ValueError for norms with weights, which our networks have not. All other weights are matrices."""
    norms = [name.removesuffix(".weight") for name, tensor in tensors.items() if _is_norms_weight(name, tensor)]
    if norms:
        batch = f"{norms[0]}.running_mean" in tensors
        kind = "batch norms (--normG batch)" if batch else "instance norms with weights (affine)"
        raise ValueError(f"{path}: holds {kind}, such as {norms[0]}; expected instance norms without weights")


def _is_norms_weight(name: str, tensor: Tensor) -> bool:
    return re.fullmatch(r"model\..*\.weight", name) is not None and tensor.dim() == 1


def _names(network: Network) -> dict[str, str]:
    """Return the reference code's name of each tensor of the network's state."""
    if isinstance(network, StyleGenerator | StyleDiscriminator):
        return sincut_names(network)
    prefixes = _prefixes(network)
    names: dict[str, str] = {}
    for ours in network.state_dict():
        prefix = next(prefix for prefix in prefixes if ours.startswith(f"{prefix}."))
        names[ours] = prefixes[prefix] + ours.removeprefix(prefix)
    return names


def _prefixes(network: Generator | Discriminator | Projector) -> dict[str, str]:
    """Return the reference code's name of each of our modules."""
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
    """Return the numbers of each stage's modules in the reference code's Sequential."""
    numbers: dict[str, range] = {}
    first = 0
    for stage, module in generator.stages.items():
        behind = first + (len(module) if isinstance(module, nn.Sequential) else 1)
        numbers[stage] = range(first, behind)
        first = behind
    return numbers


def _sized(make: Callable[[], Sizes], path: str) -> Sizes:
    """Return the sizes of a network. Put the file's path before the error of sizes that no network may have."""
    try:
        return make()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _require_kind(wanted: str, weights: Weights, path: str) -> None:
    if _holds_generator(weights):
        found = "a generator"
    elif any(name.startswith("mlp_") for name in weights):
        found = "heads"
    elif "model.0.weight" in weights or f"{DISCRIMINATOR}0.weight" in weights:
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


def _last_number(weights: Weights) -> int:
    return max(int(found[1]) for name in weights if (found := re.match(r"model\.(\d+)\.", name)))


def _is_antialiased(weights: Weights) -> bool:
    return any(name.endswith(".filt") for name in weights)
