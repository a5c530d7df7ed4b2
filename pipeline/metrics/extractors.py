"""Load the networks that turn images into features: torch-fidelity's, EfficientNet's, and the embedded task's."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import torch_fidelity
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3
from torch_fidelity.utils import create_feature_extractor, create_sample_similarity

from pipeline.errors import UserError, first_line
from pipeline.files import file_digest
from pipeline.metrics.extra.dino import load_dino_keys
from pipeline.metrics.extra.efficientnet import SHA256 as EFFICIENTNET_SHA256
from pipeline.metrics.extra.efficientnet import load_efficientnet
from pipeline.metrics.harmless import weights_only
from pipeline.metrics.names import (
    DINO,
    DINOV2,
    EFFICIENTNET,
    INCEPTION,
    INCEPTION_IMAGENET,
    LPIPS,
    PUBLISHED_WEIGHTS,
    SMALL_CONV,
    SMALL_CONV_MAP,
    VGG,
    has_weights,
)
from pipeline.metrics.published_files import published_file, require_own
from pipeline.metrics.single_image.feature_maps import SmallConvMap, imagenet_file, load_imagenet_inception

LIBRARY = f"torch-fidelity {torch_fidelity.__version__}"
TENSORFLOW_RESIZE = "bilinearly as TensorFlow 1 does, not antialiased"
# The layer whose features are compared, the number of its features, and how an image is resized before.
LAYERS = {
    INCEPTION: ("2048", 2048, f"to 299 x 299, {TENSORFLOW_RESIZE}"),
    SMALL_CONV: ("144", 144, "none"),
    VGG: ("fc2_relu", 4096, f"to 224 x 224, {TENSORFLOW_RESIZE}"),
    DINOV2: ("dinov2", 1024, f"to 224 x 224, {TENSORFLOW_RESIZE}"),
    EFFICIENTNET: ("pooled", 1280, "to 224 x 224, bilinearly, antialiased"),
    SMALL_CONV_MAP: ("second of three, at each position", 24, "none"),
    INCEPTION_IMAGENET: ("Conv2d_4a_3x3, at each position", 192, "none"),
}
# The last change of DINOv2's code in the years after its paper. torch-fidelity runs whatever its branch main holds.
DINOV2_COMMIT = "e1277af2ba9496fbadf7aec6eba56e8d882d1e35"
DINOV2_URL = "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth"
DINOV2_SHA256 = "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428"
# Files in torch's folder, for a machine that cannot download them.
HUB_FILES = {
    VGG: "checkpoints/vgg16-397923af.pth",
    DINOV2: f"checkpoints/dinov2_vitl14_pretrain.pth and the code facebookresearch_dinov2_{DINOV2_COMMIT}",
    DINO: "checkpoints/dino_vitbase8_pretrain.pth",
    LPIPS: "checkpoints/weights-vgg16-lpips.pth and checkpoints/vgg16-397923af.pth",
}


@dataclass(frozen=True)
class Extractor:
    """A network from 8-bit images (B, 3, H, W) to features (B, dimensions), or a map of them, in float32.

    weights: the first 8 digits of the SHA-256 of Inception's or EfficientNet's file, else of the tensors. resize: how
    it resizes images.
    """

    name: str
    layer: str
    dimensions: int
    weights: str
    resize: str
    network: nn.Module

    def __call__(self, images: Tensor) -> Tensor:
        return self.network(images)[0]


class SmallConv(nn.Module):
    """The embedded task's extractor: no download, milliseconds on a CPU.

    (B, 3, H, W) of 8 bits -> (B, 144). Three strided 5 x 5 convolutions with fixed random weights; features are each
    channel's mean and deviation. The first layer sees colour, the last one the width of the stripes.
    """

    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(2020)
        for number, (inputs, outputs) in enumerate(pairwise((3, 16, 24, 32))):
            filters = torch.randn(outputs, inputs, 5, 5, generator=rng)
            self.register_buffer(f"filters{number}", filters / filters.flatten(1).norm(dim=1)[:, None, None, None])

    def forward(self, images: Tensor) -> tuple[Tensor]:
        x = images.float() / 127.5 - 1
        statistics: list[Tensor] = []
        for filters in self.buffers():
            x = F.relu(F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), filters, stride=2))
            statistics += [x.mean((2, 3)), x.std((2, 3))]
        # The factor gives visibly different images a distance of some tens. It scales all distances equally.
        return (10 * torch.cat(statistics, 1),)


@lru_cache(maxsize=4)
def load_extractor(name: str, weights: str | None) -> Extractor:
    """Load the extractor, once a process. weights: Inception's file, if it is not in torch's folder.

    Raises UserError if the weights are not available, or are not those of this network.
    """
    layer, dimensions, resize = LAYERS[name]
    if name == SMALL_CONV:
        network = SmallConv()
    elif name == INCEPTION:
        network = _load_inception(inception_weights(weights))
    elif name == EFFICIENTNET:
        network = load_efficientnet()
    elif name == SMALL_CONV_MAP:
        network = SmallConvMap(list(SmallConv().buffers()))
    elif name == INCEPTION_IMAGENET:
        network = load_imagenet_inception(weights)
    else:
        network = _from_hub(name, _create_dinov2 if name == DINOV2 else lambda: _create(name))
    by_file = name in (INCEPTION, EFFICIENTNET, INCEPTION_IMAGENET)
    found = weights_fingerprint(name, weights) if by_file else weights_digest(network)
    return Extractor(name, layer, dimensions, found, resize, network)


def untrained_inception(seed: int) -> dict[str, Tensor]:
    """Draw weights for Inception's architecture, to measure and test it on a machine without the published weights.

    The initialisation is that of He et al. (ICCV 2015), which keeps the scale of the features. With torch's default
    they shrink to nothing from layer to layer.
    """
    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = _Untrained(INCEPTION, [LAYERS[INCEPTION][0]], feature_extractor_weights_path=nothing)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        return dict(network.state_dict())


@lru_cache(maxsize=1)
def load_lpips() -> nn.Module:
    """Load torch-fidelity's LPIPS over VGG16 (Zhang et al., CVPR 2018), once a process.

    It turns two batches of 8-bit images (B, 3, H, W) into B distances. Raises UserError if its weights are not
    available.
    """
    settings = {"cuda": False, "sample_similarity_dtype": "uint8", "verbose": False}
    return _from_hub(LPIPS, lambda: create_sample_similarity("lpips-vgg16", **settings))


@lru_cache(maxsize=1)
def load_dino() -> nn.Module:
    """Load the network of the structure distance (`pipeline.metrics.extra.dino.Keys`), once a process.

    Raises UserError if its weights are not available.
    """
    return _from_hub(DINO, load_dino_keys)


def inception_weights(weights: str | None) -> Path:
    """Return the file of Inception's weights: the given one, else torch-fidelity's. Raises UserError if the given one
    does not exist."""
    if weights is None:
        return Path(torch.hub.get_dir()) / "checkpoints" / URL_INCEPTION_V3.rsplit("/", 1)[-1]
    if not Path(weights).is_file():
        raise UserError(
            f"metric.weights={weights}: no such file. Give the path of {URL_INCEPTION_V3.rsplit('/', 1)[-1]}"
        )
    return Path(weights)


def weights_fingerprint(name: str, weights: str | None) -> str:
    """Return the first 8 digits of the weights' SHA-256, as in the name of torch-fidelity's file; '' if untrained."""
    if not has_weights(name):
        return ""
    if name == EFFICIENTNET:
        return EFFICIENTNET_SHA256[:8]
    if name == INCEPTION_IMAGENET:
        return file_digest(imagenet_file(weights))[:8]
    return PUBLISHED_WEIGHTS if weights is None else file_digest(inception_weights(weights))[:8]


class _Untrained(FeatureExtractorInceptionV3):
    """Skips the weights. torch-fidelity's constructor always loads a file."""

    def load_state_dict(self, *_: object, **__: object) -> None:  # type: ignore[override]
        return


def _load_inception(file: Path) -> nn.Module:
    if not file.exists():
        try:
            return _create(INCEPTION)
        except OSError:
            raise UserError(
                f"Inception's weights are not at {file} and {URL_INCEPTION_V3} cannot be reached. Download that file "
                f"on another machine and put it there, or give its path as metric.weights=…. Without it, score with a "
                f"network that needs no download: metric.extractor=efficientnet-lite0"
            ) from None
    if file.name.endswith(f"-{PUBLISHED_WEIGHTS}.pth") and not file_digest(file).startswith(PUBLISHED_WEIGHTS):
        raise UserError(
            f"{file}: its SHA-256 does not begin with {PUBLISHED_WEIGHTS}, as in its name. Download it again"
        )
    try:
        torch.load(file, weights_only=True)  # torch-fidelity would run the code of a pickle
        return _create(INCEPTION, feature_extractor_weights_path=str(file))
    except Exception as error:  # damaged files raise many kinds
        raise UserError(
            f"{file}: not the weights of torch-fidelity's Inception ({first_line(error)}). Download them again"
        ) from None


def _from_hub(name: str, create: Callable[[], nn.Module]) -> nn.Module:
    try:
        with weights_only():
            return create()
    except UserError:
        raise
    except Exception as error:  # torch's hub, the network and damaged files raise many kinds
        raise UserError(
            f"{name}: its weights cannot be loaded or downloaded ({first_line(error)}). On a machine without network, "
            f"put {HUB_FILES[name]} into {torch.hub.get_dir()}"
        ) from None


def _create_dinov2() -> nn.Module:
    published_file(DINOV2_URL, DINOV2_SHA256)
    require_own(Path(torch.hub.get_dir()) / f"facebookresearch_dinov2_{DINOV2_COMMIT}")
    load = torch.hub.load
    # The name of a commit is a hash of its content, so it needs no other proof of its origin.
    torch.hub.load = partial(_load_commit, load)
    try:
        return _create(DINOV2)
    finally:
        torch.hub.load = load


def _load_commit(load: Callable[..., Any], repository: str, model: str) -> Any:
    return load(f"{repository}:{DINOV2_COMMIT}", model, trust_repo=True, skip_validation=True)


def _create(name: str, **options: str | None) -> nn.Module:
    return create_feature_extractor(name, [LAYERS[name][0]], cuda=False, verbose=False, **options)


def weights_digest(network: nn.Module) -> str:
    """Return the first 8 digits of the SHA-256 of a network's tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy())
    return digest.hexdigest()[:8]
