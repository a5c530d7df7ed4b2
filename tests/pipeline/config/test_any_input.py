"""Whatever stands in a sweep file or an override, it is taken, or refused in one readable line."""

import json
import resource
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from models.configs.dclgan import DCLGAN
from models.configs.sincut import SINCUT
from pipeline.config.compose import GROUPS, compose_config
from pipeline.config.sweep_file import expand, load_sweep, with_seeds
from pipeline.config.text_file import CONTROL
from pipeline.config.trial_key import leaves
from pipeline.errors import UserError

# The default run takes the same examples each time. The slow one draws new ones, and prints how to repeat a failure.
FAST = settings(max_examples=100, deadline=None, derandomize=True, database=None)
SLOW = settings(
    max_examples=1000,
    deadline=timedelta(seconds=10),
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
LONGEST_ERROR = 1000
MOST_MEMORY_GB = 1.0

FIELDS = sorted(
    {name for task in ("stripes", "cat2dog") for name, _ in leaves(asdict(compose_config([f"task={task}"])))}
    | {name for name, _ in leaves(asdict(compose_config(["model=cyclegan"])))}
    | {f"model.{name}" for preset in (SINCUT, DCLGAN) for name, _ in leaves(asdict(preset))}
)
NAMES = st.sampled_from([*FIELDS, *GROUPS, "model", "model.generator", "seeds", "x", "x" * 3000]) | st.text(max_size=20)
# What a setting may be, and what programs like this one stumble over.
TEXTS = (
    "??? ${seed} ${oc.env:HOME} ~/x s3://b/c ../.. \x1b[31m \ud800 0b_ 1:59.9 2024-13-45 << &a *a choice(1,2) {{x}} -"
)
WORDS = "cut cyclegan stripes horse2zebra res1 internal minibatch auto"
NUMBERS = [10**30, -1, 0, 2**63, 1e308, 5e-324, float("inf"), float("nan")]
LONG = ["9" * 5000, "x" * 5000, "[" * 2000 + "]" * 2000]
AWKWARD = st.one_of(map(st.sampled_from, (NUMBERS, LONG, ["", *TEXTS.split()], WORDS.split())))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | AWKWARD
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)

GOOD: dict[str, Any] = {
    "name": "mine",
    "question": "Does it work?",
    "base": ["model=cut", "data.size=32"],
    "seeds": [0],
    "rows": [{"row": "cold", "set": {"model.temperature": 0.01}}, {"row": "warm", "set": {"model.num_patches": 16}}],
    "search": {"samples": 2, "space": {"model.temperature": {"uniform": [0.1, 0.2]}}, "sampler": "random"},
}


@st.composite
def changed_sweeps(draw: st.DrawFn) -> bytes:
    """A sweep file that works, as JSON, which is YAML; up to four of its parts are replaced, added or removed."""
    content = json.loads(json.dumps(GOOD))
    if draw(st.booleans()):
        del content["search"]
    for _ in range(draw(st.integers(0, 4))):
        around: Any = content
        while isinstance(around, dict | list) and around:
            keys = sorted(around) if isinstance(around, dict) else list(range(len(around)))
            key = draw(st.sampled_from(keys))
            if not isinstance(around[key], dict | list) or draw(st.booleans()):
                break
            around = around[key]
        else:
            continue
        match draw(st.sampled_from(["replace", "add", "remove"])):
            case "replace":
                around[key] = draw(VALUES)
            case "add" if isinstance(around, dict):
                around[draw(NAMES)] = draw(VALUES)
            case _:
                del around[key]
    return json.dumps(content).encode()


@st.composite
def changed_texts(draw: st.DrawFn) -> bytes:
    """A sweep file that works, in which some bytes are replaced by others."""
    content = draw(changed_sweeps())
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 5)))
        piece = draw(
            st.binary(max_size=6) | st.sampled_from([b"&a ", b"*a", b"!!int ", b"\n- ", b": ", b"[" * 50, b"%YAML"])
        )
        content = content[:start] + piece + content[end:]
    return content


FILES = changed_sweeps() | changed_texts() | st.text().map(str.encode) | st.binary()


@st.composite
def overrides(draw: st.DrawFn) -> str:
    """One override: a name and a value, written as JSON, as Python or as it stands; or any text."""
    value = draw(AWKWARD | VALUES)
    written = draw(st.sampled_from([json.dumps, repr, str]))(value)
    before, sign = draw(st.sampled_from([("", "=")] * 9 + [("+", "="), ("~", ""), ("", "@x="), ("", ":")]))
    return before + draw(NAMES) + sign + written


OVERRIDES = st.lists(overrides(), min_size=1, max_size=2) | st.lists(st.text(), min_size=1, max_size=1)


def taken_or_refused_in_one_line(take: Callable[[], object]) -> None:
    try:
        take()
    except UserError as error:
        said = str(error)
        assert said
        assert not CONTROL.search(said), ascii(said)
        assert len(said) < LONGEST_ERROR, said


def take_file(folder: Path, content: bytes) -> None:
    path = folder / "mine.yaml"
    path.write_bytes(content)
    taken_or_refused_in_one_line(lambda: expand(load_sweep(str(path)), []))


def take_overrides(texts: list[str]) -> None:
    taken_or_refused_in_one_line(lambda: compose_config(texts))
    taken_or_refused_in_one_line(lambda: expand(*with_seeds(load_sweep("smoke"), texts)))


@FAST
@given(content=FILES)
@example(content=f"seeds: [{'9' * 5000}]".encode())
@example(content=b"rows: &r [*r]")
def test_any_sweep_file_is_taken_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    take_file(tmp_path_factory.getbasetemp(), content)


@FAST
@given(texts=OVERRIDES)
@example(texts=[f"seed={'9' * 5000}"])
@example(texts=[f"{'x' * 5000}=1"])
@example(texts=[f"model.code='{'9' * 5000}'"])
@example(texts=[f"model.code={'no/' * 1000}"])
def test_any_override_is_taken_or_refused(texts: list[str]) -> None:
    take_overrides(texts)


@pytest.mark.slow
def test_a_thousand_inputs_take_no_more_than_a_gigabyte(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    SLOW(given(content=FILES)(lambda content: take_file(tmp_path, content)))()
    SLOW(given(texts=OVERRIDES)(take_overrides))()
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 1e9 < MOST_MEMORY_GB


def test_the_examples_begin_with_a_sweep_that_works(tmp_path: Path) -> None:
    """Otherwise each example would be refused for the same reason."""
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(GOOD), encoding="utf-8")
    assert len(expand(load_sweep(str(path)), [])) == 4
