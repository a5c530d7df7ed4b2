"""Compute FID with other implementations, if their packages are installed, and say how they differ.

This project uses torch-fidelity: 8-bit images in memory, TensorFlow 1's bilinear resize to 299 x 299.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.data.image_io import write_png
from pipeline.errors import UserError, first_line, nearest
from pipeline.metrics.harmless import weights_only
from pipeline.metrics.names import PUBLISHED_WEIGHTS
from pipeline.metrics.published_files import published_file, published_path

MODULES = {"pytorch-fid": "pytorch_fid", "clean-fid": "cleanfid"}
# How each implementation differs from this project's.
DIFFERENCES = {
    "pytorch-fid": (
        "pytorch-fid resizes with torch's bilinear filter, which has half-pixel centres, unlike TensorFlow 1's. It "
        "scales pixels to x / 127.5 - 1, not x / 128 - 1, and computes the covariances' root with scipy's sqrtm. "
        "Network and weights are the same. The paper's numbers were computed with it."
    ),
    "clean-fid": (
        "clean-fid resizes with Pillow's bicubic filter, antialiased and without rounding to 8 bits. It runs NVIDIA's "
        "TorchScript version of the same Inception, and computes the covariances' root with scipy's sqrtm."
    ),
}
# Of the files of their networks; the first digits stand in the name of the first one.
SHA256 = {
    "pytorch-fid": PUBLISHED_WEIGHTS,
    "clean-fid": "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
}


def require_installed(name: str) -> None:
    """Raise UserError if there is no such implementation, or if its package is not installed."""
    if name not in MODULES:
        raise UserError(f"compare={name}: no such implementation; {nearest(name, MODULES)}")
    if find_spec(MODULES[name]) is None:
        raise UserError(f"compare={name}: the package is not installed. Run: pip install {name}")


def their_fid(
    name: str, images_1: NDArray[np.uint8], images_2: NDArray[np.uint8], batch_size: int, device: torch.device
) -> float:
    """Return that implementation's FID between images (N, 3, H, W) and (M, 3, H, W), passed to it as PNG files.

    Raises UserError if its weights are not available, or if the package fails.
    """
    if min(len(images_1), len(images_2)) < 2:
        # With one image the covariance is NaN, and scipy's root of it never ends.
        raise UserError(f"compare={name}: {len(images_1)} and {len(images_2)} images. It needs two or more of each")
    compute = _pytorch_fid if name == "pytorch-fid" else _clean_fid
    with TemporaryDirectory() as folder, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        folders = [f"{folder}/1", f"{folder}/2"]
        for target, images in zip(folders, (images_1, images_2), strict=True):
            for number, image in enumerate(images):
                write_png(Path(target) / f"{number:06}.png", image.transpose(1, 2, 0))
        try:
            return compute(folders, batch_size, device)
        except UserError:
            raise
        except Exception as error:  # scipy, torch and the package raise many kinds
            raise UserError(
                f"compare={name}: the package fails ({first_line(error)}). Leave compare out, or install the scipy of "
                "the project's extra 'compare'"
            ) from None


def _pytorch_fid(folders: list[str], batch_size: int, device: torch.device) -> float:
    from pytorch_fid.fid_score import calculate_fid_given_paths
    from pytorch_fid.inception import FID_WEIGHTS_URL, fid_inception_v3

    with weights_only():
        with _weights("pytorch-fid", FID_WEIGHTS_URL):
            published_file(FID_WEIGHTS_URL, SHA256["pytorch-fid"])
            # Only for their errors. The next call loads them again.
            fid_inception_v3()
        return float(calculate_fid_given_paths(folders, batch_size, device, dims=2048, num_workers=0))


def _clean_fid(folders: list[str], batch_size: int, device: torch.device) -> float:
    from cleanfid.downloads_helper import inception_url
    from cleanfid.fid import compute_fid
    from cleanfid.inception_torchscript import InceptionV3W

    with _weights("clean-fid", inception_url):
        # clean-fid itself takes its network from the folder for temporary files, where anybody can put one.
        file = published_file(inception_url, SHA256["clean-fid"])
        network = InceptionV3W(str(file.parent), download=False).to(device).eval()
    one, two = folders
    fid = compute_fid(
        one, two, num_workers=0, batch_size=batch_size, device=device, custom_feat_extractor=network, verbose=False
    )
    return float(fid)


@contextmanager
def _weights(name: str, url: str) -> Iterator[None]:
    """Turn errors of downloading and loading weights into a UserError that names the file."""
    file = published_path(url)
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # urllib and torch raise many kinds
        if file.exists():
            raise UserError(
                f"{file}: not the Inception of {name} ({first_line(error)}). Remove it to download it again"
            ) from None
        raise UserError(
            f"compare={name}: its weights are not at {file} and {url} cannot be downloaded ({first_line(error)}). "
            f"Download that file on another machine and put it there"
        ) from None
