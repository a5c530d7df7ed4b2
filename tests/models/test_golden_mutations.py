"""Each change of the method, made on a copy of the code, makes the golden tests fail."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GOLDEN_TESTS = ("tests/models/test_golden.py", "tests/models/test_ten_steps.py")
SINCUT_TESTS = ("tests/models/test_sincut_statement.py",)
DCLGAN_TESTS = ("tests/models/test_dclgan.py",)
# Name: file, old text, new text.
CHANGES = {
    "temperature": ("models/contrast/patch_nce.py", "(0, 1) / temperature", "(0, 1) / (1.1 * temperature)"),
    "detached keys": (
        "models/cut.py",
        "with torch.no_grad():\n            detached =",
        "with torch.enable_grad():\n            detached =",
    ),
    "own key's -10": ("models/negatives.py", "OWN_KEY = -10.0", "OWN_KEY = 0.5"),
    "own key not masked": ("models/negatives.py", "similarity_BPP.masked_fill(own, OWN_KEY)", "similarity_BPP"),
    "CUT's update order": (
        "models/cut.py",
        '("discriminator", *(["negatives"] if self.generated else []), "generator")',
        '("generator", "discriminator")',
    ),
    "CycleGAN's update order": (
        "models/cyclegan.py",
        '("generator", "discriminator")',
        '("discriminator", "generator")',
    ),
    "flip of the input": ("models/cut.py", "source.flip(-1) if randomness.flipped else source", "source"),
    "flip of the features": ("models/cut.py", "{layer: feature.flip(-1) for", "{layer: feature for"),
    "Adam's beta 1": ("pipeline/config/schema.py", "beta1: Decay = 0.5", "beta1: Decay = 0.9"),
    "Adam's beta 2": ("pipeline/config/schema.py", "beta2: Decay = 0.999", "beta2: Decay = 0.9"),
    "Adam's betas not handed on": ("pipeline/training/state.py", "betas=betas", "betas=(0.9, 0.999)"),
    "mean over layers": ("models/cut.py", "for layer in layers]).mean()", "for layer in layers]).sum()"),
    "Adam's epsilon": ("pipeline/training/state.py", "betas=betas,", "betas=betas, eps=1e-6,"),
    "images that pools hand out": ("models/image_pool.py", "torch.where(hands_out, earlier, fake)", "fake"),
    "images that pools keep": ("models/image_pool.py", "torch.where(keeps, fake, earlier)", "earlier"),
    "float64 of the GAN's loss": ("models/losses.py", "scores.to(float32_or_wider(scores.dtype))", "scores.float()"),
    "weight of the identity": ("models/configs/cut.py", '"a": weight / (1 + identity)', '"a": weight'),
}


# What the test of SinCUT's statement sees.
SINCUT_CHANGES = {
    "detached keys": (
        "models/sincut.py",
        "with torch.no_grad():\n            keys =",
        "with torch.enable_grad():\n            keys =",
    ),
    "update order": ("models/sincut.py", '("discriminator", "generator")', '("generator", "discriminator")'),
    "mean over layers": ("models/sincut.py", "torch.stack(terms).mean()", "torch.stack(terms).sum()"),
    "negatives of the batch": (
        "models/sincut.py",
        "import Patches, minibatch",
        "import Patches, internal as minibatch",
    ),
    "half of R1": ("models/losses.py", "0.5 * gradient.square()", "gradient.square()"),
    "filter of the blur": ("models/networks/stylegan2_layers.py", "[1.0, 3.0, 3.0, 1.0]", "[1.0, 2.0, 2.0, 1.0]"),
    "length of the filters": ("models/networks/stylegan2_layers.py", "torch.rsqrt(scaled", "torch.ones_like(scaled"),
    "gain of the activation": ("models/networks/stylegan2_layers.py", "math.sqrt(2), 0.2", "1.0, 0.2"),
    "noise": ("models/networks/stylegan2_layers.py", "self.noise_weight * noise", "0 * noise"),
    "Adam's beta 1": ("pipeline/config/groups/schedule/sincut.yaml", "beta1: 0.0", "beta1: 0.5"),
}


DCLGAN_CHANGES = {
    "encoder of the queries": (
        "models/dclgan.py",
        '"a": (self.b_to_a, self.heads_b), "b": (self.a_to_b, self.heads_a)',
        '"a": (self.a_to_b, self.heads_a), "b": (self.b_to_a, self.heads_b)',
    ),
    "heads of the queries": (
        "models/dclgan.py",
        '"a": (self.b_to_a, self.heads_b), "b": (self.a_to_b, self.heads_a)',
        '"a": (self.b_to_a, self.heads_a), "b": (self.a_to_b, self.heads_b)',
    ),
    "other domain": ("models/dclgan.py", '{"a": keys_b, "b": keys_a}', '{"a": keys_a, "b": keys_b}'),
    "detached keys": ("models/dclgan.py", "with torch.no_grad():", "with torch.enable_grad():"),
    "update order": ("models/dclgan.py", '("discriminator", "generator")', '("generator", "discriminator")'),
    "mean over layers": ("models/dclgan.py", "torch.stack(terms).mean()", "torch.stack(terms).sum()"),
    "half of the identity": ("models/dclgan.py", "weight = 0.5 * self", "weight = self"),
    "sign of the hinge": ("models/losses.py", "F.relu(1 - _wide(scores)", "F.relu(1 + _wide(scores)"),
}


def copy_of_the_code(folder: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", folder)
    for package in ("models", "pipeline", "tests/models", "tests/helpers", "tests/golden"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def golden_test(folder: Path, tests: Sequence[str] = GOLDEN_TESTS) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_unchanged_copy_passes(tmp_path: Path) -> None:
    result = golden_test(copy_of_the_code(tmp_path), (*GOLDEN_TESTS, *SINCUT_TESTS, *DCLGAN_TESTS))
    assert result.returncode == 0, result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_the_golden_test_fails_for_every_change(tmp_path: Path, change: tuple[str, str, str]) -> None:
    fails_for(change, GOLDEN_TESTS, tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("change", SINCUT_CHANGES.values(), ids=SINCUT_CHANGES.keys())
def test_the_test_of_sincuts_statement_fails_for_every_change(tmp_path: Path, change: tuple[str, str, str]) -> None:
    fails_for(change, SINCUT_TESTS, tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("change", DCLGAN_CHANGES.values(), ids=DCLGAN_CHANGES.keys())
def test_the_test_of_dclgan_fails_for_every_change(tmp_path: Path, change: tuple[str, str, str]) -> None:
    fails_for(change, DCLGAN_TESTS, tmp_path)


def fails_for(change: tuple[str, str, str], tests: Sequence[str], folder: Path) -> None:
    name, old, new = change
    file = copy_of_the_code(folder) / name
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{name} must hold {old!r} once"
    file.write_text(text.replace(old, new), encoding="utf-8")
    result = golden_test(folder, tests)
    # 1: tests ran and failed; a copy that cannot be imported gives 2.
    assert result.returncode == 1, result.stdout
