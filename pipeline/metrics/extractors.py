"""The networks that turn images into features: torch-fidelity's own and the embedded task's, loaded once a process."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch_fidelity
from torch import Tensor, nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3
from torch_fidelity.utils import create_feature_extractor, create_sample_similarity

from pipeline.errors import UserError, first_line
from pipeline.files import file_digest
from pipeline.metrics import random_conv as small_extractor
from pipeline.metrics.names import DINOV2, INCEPTION, PUBLISHED_WEIGHTS, SMALL_CONV, VGG, has_weights

LIBRARY = f"torch-fidelity {torch_fidelity.__version__}"
TENSORFLOWS = "bilinearly as TensorFlow 1 does, not antialiased"
# The layer that distances are taken from, the length of its features, and what is done to an image before.
LAYERS = {
    INCEPTION: ("2048", 2048, f"to 299 x 299, {TENSORFLOWS}"),
    SMALL_CONV: (small_extractor.LAYER, int(small_extractor.LAYER), "none"),
    VGG: ("fc2_relu", 4096, f"to 224 x 224, {TENSORFLOWS}"),
    DINOV2: ("dinov2", 1024, f"to 224 x 224, {TENSORFLOWS}"),
}
# What must lie in torch's folder where a machine cannot download it.
HUB_FILES = {VGG: "checkpoints/vgg16-397923af.pth", DINOV2: "checkpoints/dinov2_vitl14_pretrain.pth"}


@dataclass(frozen=True)
class Extractor:
    """A network that takes 8-bit images (B, 3, H, W) and gives features (B, dimensions) in float32.

    weights: the first 8 digits of the SHA-256 of Inception's file, else of the tensors. resize: what it does to images.
    """

    name: str
    layer: str
    dimensions: int
    weights: str
    resize: str
    network: FeatureExtractorBase

    def __call__(self, images: Tensor) -> Tensor:
        return self.network(images)[0]

    @contextmanager
    def on(self, device: torch.device) -> Iterator[None]:
        """Lend the network to a device: between evaluations its memory belongs to the training."""
        self.network.to(device)
        try:
            yield
        finally:
            self.network.to("cpu")


@lru_cache(maxsize=4)
def load_extractor(name: str, weights: str | None) -> Extractor:
    """The extractor, once a process. weights: Inception's file, where it is not in torch's folder.

    Raises UserError where the weights cannot be had, or are others.
    """
    layer, dimensions, resize = LAYERS[name]
    match name:
        case "small-conv":
            small_extractor.register()
            network = _create(name)
            found = weights_digest(network)
        case "inception-v3-compat":
            network = _load_inception(inception_weights(weights))
            found = weights_fingerprint(name, weights)
        case _:
            network = _load_from_hub(name)
            found = weights_digest(network)
    return Extractor(name, layer, dimensions, found, resize, network)


def untrained_inception(seed: int) -> dict[str, Tensor]:
    """Weights of Inception's architecture drawn from a seed: what it costs can be measured, and what is computed with
    it compared, where the published ones are not. By He et al. (ICCV 2015), so that features keep their size; torch's
    own initialisation shrinks them layer by layer to nothing."""
    with TemporaryDirectory() as folder, torch.random.fork_rng():
        torch.manual_seed(seed)
        nothing = Path(folder) / "nothing.pth"
        torch.save({}, nothing)
        network = _Untrained(INCEPTION, [LAYERS[INCEPTION][0]], feature_extractor_weights_path=str(nothing))
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        return dict(network.state_dict())


@lru_cache(maxsize=1)
def load_lpips() -> nn.Module:
    """torch-fidelity's LPIPS over VGG16 (Zhang et al., CVPR 2018), once a process: it takes two batches of 8-bit images
    (B, 3, H, W) and gives B distances. Raises UserError where its weights cannot be had.
    """
    try:
        return create_sample_similarity("lpips-vgg16", cuda=False, sample_similarity_dtype="uint8", verbose=False)
    except Exception as error:  # torch's hub, the network's and a torn file's own kinds
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise UserError(
            f"metric.also=[lpips]: its weights cannot be loaded or fetched ({first_line(error)}); on a machine without "
            f"network put weights-vgg16-lpips.pth and vgg16-397923af.pth into {folder}"
        ) from None


def inception_weights(weights: str | None) -> Path:
    """The file that is read: the one given, else torch-fidelity's own place.

    Raises UserError where a given one is absent.
    """
    if weights is None:
        return Path(torch.hub.get_dir()) / "checkpoints" / URL_INCEPTION_V3.rsplit("/", 1)[-1]
    if not Path(weights).is_file():
        raise UserError(
            f"metric.weights={weights}: no such file; give the path of {URL_INCEPTION_V3.rsplit('/', 1)[-1]}"
        )
    return Path(weights)


def weights_fingerprint(name: str, weights: str | None) -> str:
    """The first 8 digits of the weights' SHA-256, which torch-fidelity's file has in its name; '' for fixed filters."""
    if not has_weights(name):
        return ""
    return PUBLISHED_WEIGHTS if weights is None else file_digest(inception_weights(weights))[:8]


class _Untrained(FeatureExtractorInceptionV3):
    """torch-fidelity's constructor knows no way around a file of weights."""

    def load_state_dict(self, *_: object, **__: object) -> None:  # type: ignore[override]
        return


def _load_inception(place: Path) -> FeatureExtractorBase:
    if not place.exists():
        try:
            return _create(INCEPTION)
        except OSError:
            raise UserError(
                f"Inception's weights are not at {place} and {URL_INCEPTION_V3} cannot be reached; fetch that file on "
                f"a machine that can and put it there, or give its path as metric.weights=…"
            ) from None
    if place.name.endswith(f"-{PUBLISHED_WEIGHTS}.pth") and not file_digest(place).startswith(PUBLISHED_WEIGHTS):
        named = f"does not begin with {PUBLISHED_WEIGHTS}, as its name says"
        raise UserError(f"{place}: its SHA-256 {named}; fetch it again")
    try:
        torch.load(place, weights_only=True)  # since torch-fidelity would run what a pickle holds
        return _create(INCEPTION, feature_extractor_weights_path=str(place))
    except Exception as error:  # whatever a torn file makes torch raise
        raise UserError(
            f"{place}: not the weights of torch-fidelity's Inception ({first_line(error)}); fetch them again"
        ) from None


def _load_from_hub(name: str) -> FeatureExtractorBase:
    try:
        return _create(name)
    except Exception as error:  # torch's hub, the network's and a torn file's own kinds
        place = Path(torch.hub.get_dir()) / HUB_FILES[name]
        code = f", with the code {place.parents[1] / 'facebookresearch_dinov2_main'}" if name == DINOV2 else ""
        raise UserError(
            f"{name}: its weights cannot be loaded or fetched ({first_line(error)}); on a machine without network put "
            f"them at {place}{code}"
        ) from None


def _create(name: str, **options: str | None) -> FeatureExtractorBase:
    return create_feature_extractor(name, [LAYERS[name][0]], cuda=False, verbose=False, **options)


def weights_digest(network: nn.Module) -> str:
    """The first 8 digits of a SHA-256 of all its tensors."""
    whole = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        whole.update(name.encode())
        whole.update(tensor.contiguous().numpy())
    return whole.hexdigest()[:8]
