"""The FID of others beside this project's: what would differ, and their number where the package is installed.

This project's is torch-fidelity's: 8-bit images in memory, TensorFlow 1's bilinear resize to 299 x 299.
"""

import io
import platform
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

MODULES = {"pytorch-fid": "pytorch_fid", "clean-fid": "cleanfid"}
IMPLEMENTATIONS = tuple(MODULES)
# Where clean-fid keeps its network: a constant in its code as well.
CLEAN_FID_FOLDER = Path("." if platform.system() == "Windows" else "/tmp")


def differences(name: str) -> str:
    """What that implementation does otherwise than this project's."""
    _require_known(name)
    if name == "pytorch-fid":
        return (
            "pytorch-fid resizes by torch's bilinear filter, with half-pixel centres that TensorFlow 1's has not, "
            "takes pixels as x / 127.5 - 1, not x / 128 - 1, and takes the covariances' root by scipy's sqrtm; network "
            "and weights are the same. The paper's numbers were made with it."
        )
    return (
        "clean-fid resizes by Pillow's bicubic filter, which is antialiased and here does not round to 8 bits, runs "
        "NVIDIA's TorchScript of the same Inception, and takes the covariances' root by scipy's sqrtm."
    )


def require_installed(name: str) -> None:
    """Raise UserError where there is no such implementation, or its package is not here."""
    _require_known(name)
    if find_spec(MODULES[name]) is None:
        raise UserError(f"compare={name}: the package is not installed; pip install {name}")


def their_fid(
    name: str, images_1: NDArray[np.uint8], images_2: NDArray[np.uint8], batch_size: int, device: torch.device
) -> float:
    """The FID by that implementation between images (N, 3, H, W) and (M, 3, H, W), which it is given as PNG files.

    Raises UserError where the package or its weights cannot be had, and where it fails.
    """
    require_installed(name)
    if min(len(images_1), len(images_2)) < 2:
        # scipy's root of the covariance of one image, which is not a number, does not end.
        raise UserError(f"compare={name}: {len(images_1)} and {len(images_2)} images; it needs two or more of each")
    compute = _pytorch_fid if name == "pytorch-fid" else _clean_fid
    with TemporaryDirectory() as folder:
        folders = [_write(Path(folder) / "1", images_1), _write(Path(folder) / "2", images_2)]
        try:
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                return compute(folders, batch_size, device)
        except UserError:
            raise
        except Exception as error:  # scipy's, torch's and the package's own kinds
            raise UserError(
                f"compare={name}: the package fails ({first_line(error)}); leave compare out, or see that scipy is the "
                "one that the project's extra 'compare' asks for"
            ) from None


def _pytorch_fid(folders: list[str], batch_size: int, device: torch.device) -> float:
    from pytorch_fid.fid_score import calculate_fid_given_paths
    from pytorch_fid.inception import FID_WEIGHTS_URL, fid_inception_v3

    place = Path(torch.hub.get_dir()) / "checkpoints" / Path(FID_WEIGHTS_URL).name
    with _weights("pytorch-fid", place, FID_WEIGHTS_URL):
        # Once for their errors; the distance loads them again.
        fid_inception_v3()
    return float(calculate_fid_given_paths(folders, batch_size, device, dims=2048, num_workers=0))


def _clean_fid(folders: list[str], batch_size: int, device: torch.device) -> float:
    from cleanfid.downloads_helper import inception_url
    from cleanfid.fid import compute_fid
    from cleanfid.inception_torchscript import InceptionV3W

    place = CLEAN_FID_FOLDER / Path(inception_url).name
    with _weights("clean-fid", place, inception_url):
        if place.exists():
            network = InceptionV3W(str(place.parent), download=False)
        else:
            # Its download goes straight to where it is told: a torn one would be read as the network ever after.
            with TemporaryDirectory(dir=place.parent) as fetched:
                network = InceptionV3W(fetched, download=True)
                (Path(fetched) / place.name).replace(place)
    one, two = folders
    return float(
        compute_fid(
            one,
            two,
            mode="clean",
            num_workers=0,
            batch_size=batch_size,
            device=device,
            custom_feat_extractor=network.to(device).eval(),
            verbose=False,
        )
    )


def _write(folder: Path, images: NDArray[np.uint8]) -> str:
    folder.mkdir()
    for number, image in enumerate(images):
        write_png(folder / f"{number:06}.png", image.transpose(1, 2, 0))
    return str(folder)


@contextmanager
def _weights(name: str, place: Path, url: str) -> Iterator[None]:
    """Errors of fetching and loading weights, in a line that names the file."""
    try:
        yield
    except Exception as error:  # whatever a lost connection and a torn file make urllib and torch raise
        if place.exists():
            mend = "remove it, so that it is fetched again"
            raise UserError(f"{place}: not the Inception of {name} ({first_line(error)}); {mend}") from None
        raise UserError(
            f"compare={name}: its weights are not at {place} and {url} cannot be fetched ({first_line(error)}); fetch "
            f"that file on a machine that can and put it there"
        ) from None


def _require_known(name: str) -> None:
    if name not in IMPLEMENTATIONS:
        raise UserError(f"compare={name}: no such implementation; {nearest(name, IMPLEMENTATIONS)}")
