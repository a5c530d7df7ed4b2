"""Whatever bytes a checkpoint of the reference code has, loading it gives a generator or the project's own error."""

import io
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mutations import FEW, MANY, damaged

from models.configs.networks import GeneratorConfig
from models.networks.generator import Generator
from models.reference.checkpoint import reference_weights
from pipeline.errors import UserError
from pipeline.inference.load import load_trained

# torch warns of damage before it refuses.
pytestmark = pytest.mark.filterwarnings("ignore:::torch")
WEIGHTS = reference_weights(Generator(GeneratorConfig(1, 1)))


def saved(content: object, *, archive: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=archive)
    return buffer.getvalue()


# Without checksums, so that damage reaches the tensors: the format of torch before 1.6, which the reference code wrote.
CONTENTS = (WEIGHTS, {"state_dict": {f"module.{name}": tensor for name, tensor in WEIGHTS.items()}})
WHOLE = [saved(content, archive=archive) for content in CONTENTS for archive in (True, False)]
# Networks of other sizes, names and types than any that was saved.
TENSORS = st.builds(
    lambda shape, dtype: torch.zeros(shape, dtype=dtype),
    st.lists(st.integers(0, 5), max_size=4),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool, torch.complex64]),
)
NAMES = st.one_of(st.sampled_from(sorted(WEIGHTS)), st.text(max_size=8), st.from_regex(r"(module\.)?model\.\d{1,4}\.w"))
ENTRIES = st.one_of(TENSORS, st.integers(), st.dictionaries(NAMES, TENSORS, max_size=2))
BYTES = st.one_of(st.binary(max_size=200), damaged(WHOLE))
CHANGED, LOST = st.dictionaries(NAMES, ENTRIES, max_size=3), st.sets(NAMES, max_size=2)


def with_changes(changed: dict[str, object], lost: set[str]) -> bytes:
    return saved({name: entry for name, entry in (WEIGHTS | changed).items() if name not in lost}, archive=True)


def loads_or_refuses(folder: Path, content: bytes) -> None:
    path = folder / "latest_net_G.pth"
    path.write_bytes(content)
    try:
        trained = load_trained(path)
    except UserError as error:
        assert str(path) in str(error)
        assert str(error).isprintable()
    else:
        assert all(bool(tensor.isfinite().all()) for tensor in trained.generator.state_dict().values())


@pytest.mark.parametrize("content", WHOLE)
def test_the_undamaged_files_are_loaded(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "G.pth").write_bytes(content)
    loaded = reference_weights(load_trained(tmp_path / "G.pth").generator)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in WEIGHTS.items())


@FEW
@given(content=BYTES)
def test_any_bytes_are_a_generator_or_refused_by_name(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    loads_or_refuses(tmp_path_factory.getbasetemp(), content)


@FEW
@given(changed=CHANGED, lost=LOST)
def test_any_tensors_are_a_generator_or_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, changed: dict[str, object], lost: set[str]
) -> None:
    loads_or_refuses(tmp_path_factory.getbasetemp(), with_changes(changed, lost))


@pytest.mark.slow
@MANY
@given(content=BYTES)
def test_a_thousand_files_are_generators_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    loads_or_refuses(tmp_path_factory.getbasetemp(), content)


@pytest.mark.slow
@MANY
@given(changed=CHANGED, lost=LOST)
def test_a_thousand_sets_of_tensors_are_generators_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changed: dict[str, object], lost: set[str]
) -> None:
    loads_or_refuses(tmp_path_factory.getbasetemp(), with_changes(changed, lost))
