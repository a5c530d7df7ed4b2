"""What holds for every command: its help, its errors, its speed, and where its code is."""

import argparse
import errno
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from pipeline import __main__ as commands
from pipeline.__main__ import describe_os_error, main
from pipeline.command_line import COMMANDS, parse
from pipeline.errors import UserError

ROOT = Path(__file__).parents[3]
WITH_PARTS = ("bench",)


@pytest.mark.skipif(shutil.which("just") is None, reason="just is not on the PATH")
def test_the_list_of_commands_fits_a_terminal_of_80_columns() -> None:
    listed = subprocess.run(["just", "--list"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert max(map(len, listed.splitlines())) <= 80
    assert all(f"    {command}" in listed for command in COMMANDS)


def help_of(*command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_shows_how_it_is_typed_and_names_every_argument(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = help_of(command, capsys=capsys)
    usage = shown.partition("\n\n")[0]
    assert usage.startswith(f"usage: just {command}")
    listed = re.findall(r"^  (-?[^ \n]+)", shown, re.MULTILINE)
    for argument in listed:
        assert argument in ("-h,", "PART") or argument in usage or command in WITH_PARTS


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_a_function_in_a_file_of_its_name(command: str) -> None:
    package = "pipeline" if (ROOT / f"pipeline/cli/{command}.py").exists() else "analysis"
    assert callable(getattr(import_module(f"{package}.cli.{command}"), command))


def test_every_command_is_a_recipe_of_the_justfile_and_every_recipe_that_calls_one_exists() -> None:
    called = re.findall(r"-m pipeline (\w+) \"\$@\"", (ROOT / "justfile").read_text(encoding="utf-8"))
    assert sorted(called) == sorted(COMMANDS)


def test_an_installed_package_has_the_same_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, function = project["scripts"]["cut-ablation"].partition(":")
    monkeypatch.setattr(sys, "argv", ["/usr/bin/cut-ablation", "tables", "--help"])
    with pytest.raises(SystemExit):
        getattr(import_module(module), function)()
    assert capsys.readouterr().out.startswith("usage: cut-ablation tables ")


def test_help_imports_nothing_that_takes_seconds() -> None:
    code = (
        "import sys; import pipeline.__main__; from pipeline.command_line import build_parser; build_parser(); "
        "assert not {'torch', 'mlflow', 'ray', 'hydra', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    "text",
    [
        "sweep smoke a=1 b=2 c=3 --quiet",
        "sweep --quiet smoke a=1 b=2 c=3",
        "sweep smoke --quiet a=1 b=2 c=3",
        "sweep smoke a=1 --quiet b=2 c=3",
    ],
)
def test_overrides_and_options_may_stand_in_any_order(text: str) -> None:
    expected = argparse.Namespace(command="sweep", name="smoke", quiet=True, overrides=["a=1", "b=2", "c=3"])
    assert parse(text.split()) == expected


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("drop smoke", ("just drop", "ROW")),
        ("drop smoke --yes CUT a=1 --now b=2", ("just drop", "--now")),
        ("tables smoke stripes", ("just tables", "stripes")),
        ("promote smoke --count 0", ("--count", "'0'", "above 0")),
        ("tables smoke --price-per-hour=inf", ("--price-per-hour", "'inf'", "finite")),
        ("tables smoke --price-per-hour=1e300", ("--price-per-hour", "'1e300'", "at most 1000000")),
        ("tables smoke --results=s3://b/results", ("--results", "'s3://b/results'", "local path")),
        ("translate KEY in.png s3://b/out", ("OUTPUT", "'s3://b/out'", "local path")),
        (f"promote smoke --count {'9' * 5000}", ("--count", "'9999", "at most 1000000")),
        ("bench tables --trials 1000000000000", ("--trials", "at most 1000000")),
        ("swep smoke", ("'swep'", "sweep")),
    ],
)
def test_an_argument_that_is_wrong_or_lacking_is_named(text: str, facts: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as error:
        parse(text.split())
    assert all(fact in str(error.value) for fact in facts)


def test_an_error_of_the_system_names_the_file_and_what_to_do() -> None:
    full = describe_os_error(OSError(errno.ENOSPC, "No space left on device", "results/table.md"))
    assert full.startswith("results/table.md: No space left on device. Free space")
    assert "permissions" in describe_os_error(PermissionError(errno.EACCES, "Permission denied", "trials"))
    assert describe_os_error(ConnectionError("refused")) == "refused"


@pytest.mark.parametrize(
    ("raised", "code", "facts"),
    [
        (MemoryError("Unable to allocate 2 TB\nfor an array"), 2, ("error: Out of memory", "2 TB", "batch_size")),
        (FileNotFoundError(errno.ENOENT, "No such file", "a\nb"), 2, ("error: a b: No such file",)),
        (KeyboardInterrupt(), 130, ("Interrupted", "same command")),
    ],
    ids=["memory", "file", "interrupt"],
)
def test_what_ends_a_command_is_one_line(
    raised: BaseException,
    code: int,
    facts: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(given: argparse.Namespace) -> int:
        raise raised

    monkeypatch.setattr(commands, "run", fail)
    assert main(["sweep", "smoke"]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert all(fact in line for fact in facts)


def test_an_error_that_is_not_the_users_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(given: argparse.Namespace) -> int:
        raise RuntimeError("a fault of the code")

    monkeypatch.setattr(commands, "run", fail)
    with pytest.raises(RuntimeError, match="a fault of the code"):
        main(["sweep", "smoke"])
