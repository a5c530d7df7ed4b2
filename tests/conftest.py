"""A tiny trial, and working folders that are made once and copied for each test."""

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from projects import copy_project

from pipeline.config.compose import compose_config
from pipeline.config.schema import Config
from pipeline.data.stripes import draw_pictures
from pipeline.metrics.extractors import load_dino, load_extractor, load_lpips, untrained_inception
from pipeline.tracking.store import Tracker, store_lock

# Tests that run side by side share the cores. More threads than cores wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)

# A background job of a shell ignores Ctrl-C, and so would all processes that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--moments", type=int, default=3, help="how often tests of faults kill a sweep at a random moment")
    parser.addoption("--trials", type=int, default=4, help="how many trials the long sweep of the faults has (200)")
    parser.addoption("--seed", type=int, help="the seed of these moments (drawn anew each time)")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Run fast tests in up to four processes and slow ones in two. Tests that use a GPU or do harm run alone."""
    markers: str = config.option.markexpr
    fast = all(f"not {marker}" in markers for marker in ("slow", "gpu", "fault", "cluster"))
    most = 4 if fast else 2 if markers == "slow" else 0
    return min(most, len(os.sched_getaffinity(0)))


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of all random moments, printed so that they can be tried again with --seed."""
    given = request.config.getoption("--seed")
    return given if given is not None else random.SystemRandom().randrange(10**6)


@pytest.fixture
def drawn(request: pytest.FixtureRequest, seed: int) -> None:
    """Skip a case by chance, unless many moments are asked for: each case takes a minute or more."""
    if request.config.getoption("--moments") <= 3 and random.Random(f"{seed} {request.node.name}").random() < 3 / 4:
        pytest.skip("not drawn this time; --moments=20 runs all")


TINY = (
    "task=stripes",
    "data.train_count=6",
    "data.test_count=6",
    "data.size=32",
    "model.generator.channels=4",
    "model.discriminator.channels=4",
    "train.constant_epochs=1",
    "train.decay_epochs=1",
    "train.log_every_steps=4",
    "compute.device=cpu",
    "compute.cpus_per_trial=1",
)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run of pytest, and of all its workers."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def template_store(shared: Path) -> Path:
    """MLflow takes seconds to lay out an empty database."""
    path = shared / "mlflow.db"
    uri = f"sqlite:///{path}"
    with FileLock(shared / "mlflow.lock"):
        if not path.exists():
            assert Tracker(uri, "template", shared.as_uri(), store_lock(uri, shared)).experiment_id
    return path


@pytest.fixture(scope="session")
def costs(shared: Path) -> Path:
    """Counting what a step costs takes a second for each model. What is here can be had by many processes at once."""
    folder = shared / "costs"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def rates(shared: Path) -> Path:
    """Measuring how fast this machine computes a generator takes a second for each number of threads."""
    folder = shared / "rates"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def empty_project(tmp_path_factory: pytest.TempPathFactory, template_store: Path, costs: Path, rates: Path) -> Path:
    """A working folder with a store of its own, and the committed sweeps."""
    folder = tmp_path_factory.mktemp("empty")
    shutil.copy(template_store, folder / "mlflow.db")
    (folder / ".cache").mkdir()
    (folder / ".cache/costs").symlink_to(costs)
    (folder / ".cache/rates").symlink_to(rates)
    shutil.copytree(Path(__file__).parents[1] / "sweeps", folder / "sweeps")
    return folder


@pytest.fixture
def project(empty_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    return copy_project(empty_project, tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def trained_once(empty_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which `train` has trained a tiny trial of seed 1."""
    from pipeline.__main__ import main

    with pytest.MonkeyPatch.context() as patch:
        folder = copy_project(empty_project, tmp_path_factory.mktemp("trained"), patch)
        assert main(["train", *TINY, "seed=1"]) == 0
    return folder


@pytest.fixture
def trained_project(trained_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, whose store follows."""
    return copy_project(trained_once, tmp_path, monkeypatch)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system in memory. Mounting needs the rights of the superuser."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "none", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(scope="session")
def tiny_overrides() -> tuple[str, ...]:
    return TINY


@pytest.fixture
def tiny() -> Callable[..., Config]:
    return lambda *overrides: compose_config([*TINY, *overrides])


@pytest.fixture(scope="session")
def random_inception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of Inception's architecture, drawn from a fixed seed."""
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    torch.save(untrained_inception(0), path)
    return path


@pytest.fixture(scope="session")
def pictures() -> Callable[..., np.ndarray]:
    """Drawn pictures (N, 3, H, W) of 8 bits."""

    def draw(seed: int, *, striped: bool, count: int = 40, side: int = 32) -> np.ndarray:
        images = draw_pictures(count, (side, side), seed, striped=striped).images
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))

    return draw


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """torch's folder of weights, empty, on a machine without network, in a process that has loaded none yet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    # urllib keeps the proxies of its first use for the life of the process.
    monkeypatch.setattr("urllib.request._opener", None)
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    _forget_networks()
    yield tmp_path / "hub/checkpoints"
    _forget_networks()


def _forget_networks() -> None:
    load_extractor.cache_clear()
    load_lpips.cache_clear()
    load_dino.cache_clear()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium. One for all tests, because a process can run only one of Playwright's synchronous APIs."""
    from page_visit import CHROMIUM, QUIET
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()
