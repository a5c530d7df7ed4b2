"""Crafted files of networks: torch runs what is in them, this project does not."""

import json
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.metrics.harmless import HarmfulError, require_plain_program, require_plain_script
from pipeline.metrics.segmentation import CLASSES, load_segmenter

CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore::DeprecationWarning")


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, len(CLASSES), 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images)


class Touches:
    """A pickle that makes a file when it is read."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


@pytest.fixture(autouse=True)
def as_torch_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands' process refuses pickles as a whole. Here the loader alone must do it."""
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The members of an exported program."""
    path = tmp_path_factory.mktemp("program") / "model.pt2"
    sizes = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim("height", min=4, max=64)}
    torch.export.save(torch.export.export(Network().eval(), (torch.rand(2, 3, 8, 16),), dynamic_shapes=(sizes,)), path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, members: Mapping[str, bytes]) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return str(path)


def changed_program(members: Mapping[str, bytes], change: Callable[[Any], None]) -> dict[str, bytes]:
    content = json.loads(members["model/models/model.json"])
    change(content)
    return {**members, "model/models/model.json": json.dumps(content).encode()}


def dicts(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from dicts(one)


def pickled_inputs(members: Mapping[str, bytes], file: Path) -> dict[str, bytes]:
    torch.save(Touches(file), file.with_suffix(".pickle"))
    return {**members, "model/data/sample_inputs/model.pt": file.with_suffix(".pickle").read_bytes()}


def pickled_weight(members: Mapping[str, bytes], file: Path) -> dict[str, bytes]:
    name = "model/data/weights/model_weights_config.json"
    config = json.loads(members[name])
    one = next(iter(config["config"].values()))
    one["use_pickle"] = True
    torch.save(Touches(file), file.with_suffix(".pickle"))
    weight = {f"model/data/weights/{one['path_name']}": file.with_suffix(".pickle").read_bytes()}
    return {**members, **weight, name: json.dumps(config).encode()}


def opaque_constant(members: Mapping[str, bytes], file: Path) -> dict[str, bytes]:
    meta = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    config = json.dumps({"config": {"c": meta}}).encode()
    added = {"model/data/constants/opaque_obj_0": pickle.dumps(Touches(file))}
    return {**members, **added, "model/data/constants/model_constants_config.json": config}


def expression(members: Mapping[str, bytes], file: Path) -> dict[str, bytes]:
    def change(content: Any) -> None:
        for one in dicts(content["graph_module"]):
            if "expr_str" in one:
                one["expr_str"] = f"__import__('pathlib').Path({str(file)!r}).touch()"

    return changed_program(members, change)


def guard(members: Mapping[str, bytes], file: Path) -> dict[str, bytes]:
    code = f"__import__('pathlib').Path({str(file)!r}).touch() is None"
    return changed_program(members, lambda content: content.update(guards_code=[code]))


CRAFTED = [pickled_inputs, pickled_weight, opaque_constant, expression, guard]


@pytest.mark.parametrize("craft", CRAFTED, ids=lambda craft: craft.__name__)
def test_a_crafted_program_runs_under_torch_and_is_refused_here(
    program: dict[str, bytes], tmp_path: Path, craft: Callable[[Mapping[str, bytes], Path], dict[str, bytes]]
) -> None:
    file = tmp_path / "touched"
    path = write(tmp_path / "model.pt2", craft(program, file))
    with pytest.raises(UserError, match=r"model\.pt2: not an exported program \("):
        load_segmenter(path, CPU)
    assert not file.exists()
    try:
        images = torch.rand(2, 3, 8, 16)
        torch.export.load(path).module()(images)
    except Exception as error:
        print("torch:", error)
    assert file.exists(), "the crafted file does nothing, so this test shows nothing"


@pytest.mark.parametrize(
    "target",
    [
        "torch.hub.os.system", "torch.ops.aten.save", "torch.ops.aten.from_file.default", "#mine:op", "torch.load",
        "_operator.attrgetter", "torch.ops.higher_order.aoti_call_delegate", "_operator", "builtins.exec",
    ],
)  # fmt: skip
def test_operators_that_reach_beyond_a_network_are_refused(
    program: dict[str, bytes], tmp_path: Path, target: str
) -> None:
    def change(content: Any) -> None:
        content["graph_module"]["graph"]["nodes"][-1]["target"] = target

    path = write(tmp_path / "model.pt2", changed_program(program, change))
    with pytest.raises(UserError, match=r"not an exported program \(its program has target="):
        load_segmenter(path, CPU)


@pytest.mark.parametrize("name", ["model/data/aotinductor/model/a.so", "model/data/constants/custom_obj_0", "model/x"])
def test_compiled_code_and_objects_are_refused(program: dict[str, bytes], tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "model.pt2", {**program, name: b"\x7fELF"})
    with pytest.raises(UserError, match=f"it contains {name!r}"):
        load_segmenter(path, CPU)


def test_a_name_that_would_become_code_is_refused(program: dict[str, bytes], tmp_path: Path) -> None:
    name = """a", __import__("os").system("true")) #"""

    def change(content: Any) -> None:
        content["graph_module"]["signature"]["input_specs"][0]["parameter"]["parameter_name"] = name

    path = write(tmp_path / "model.pt2", changed_program(program, change))
    with pytest.raises(UserError, match="its program has parameter_name="):
        load_segmenter(path, CPU)


def test_a_program_with_sizes_that_are_no_numbers_is_used(program: dict[str, bytes], tmp_path: Path) -> None:
    path = write(tmp_path / "model.pt2", program)
    assert "expr_str" in program["model/models/model.json"].decode()
    assert load_segmenter(path, CPU).predict(torch.zeros(3, 3, 8, 16, dtype=torch.uint8)).shape == (3, 8, 16)


class Writes(nn.Module):
    def __init__(self, file: str) -> None:
        super().__init__()
        self.file = file

    def forward(self, images: Tensor) -> Tensor:
        torch.save(images, self.file)
        return images


def test_torchscript_that_writes_files_is_refused(tmp_path: Path) -> None:
    path, file = tmp_path / "model.pt", tmp_path / "written"
    torch.jit.script(Writes(str(file))).save(str(path))
    with pytest.raises(UserError, match=r"model\.pt: not TorchScript \(its code calls 'save'"):
        load_segmenter(str(path), CPU)
    torch.jit.load(str(path))(torch.zeros(1))
    assert file.exists(), "the crafted file does nothing, so this test shows nothing"


# The file that describes a program: of torch today, and before torch 2.8.
DESCRIPTIONS = ("model/models/model.json", "serialized_exported_program.json")


def is_let_through(folder: Path, field: str, value: str, described_in: str = DESCRIPTIONS[0]) -> bool:
    """Return whether a program passes whose description has this field. Nothing loads it."""
    write(folder / "model.pt2", {described_in: json.dumps({"nodes": [{field: value}]}).encode()})
    try:
        require_plain_program(folder / "model.pt2")
    except HarmfulError as error:
        assert f"{field}=" in str(error)
        return False
    return True


ARITHMETIC = "abs add and_ eq floordiv ge gt le lt mod mul ne neg not_ or_ pos pow sub truediv"
OPERATORS = [
    "torch.ops.aten.add.Tensor", "torch.ops.aten.relu", "torch.ops.prims.convert_element_type.default",
    "torch.ops.quantized_decomposed.quantize_per_tensor.default", "torch.ops.torchvision.nms.default",
    "torch.ops.higher_order.wrap_with_set_grad_enabled", "torch.ops.higher_order.wrap_with_autocast",
    "torch.sym_int", "math.ceil", *(f"_operator.{name}" for name in ARITHMETIC.split()),
]  # fmt: skip


def test_every_operator_of_a_network_is_let_through(tmp_path: Path) -> None:
    assert [target for target in OPERATORS if not is_let_through(tmp_path, "target", target)] == []


@pytest.mark.parametrize("described_in", DESCRIPTIONS)
def test_operators_are_checked_to_their_last_letter_in_every_format(tmp_path: Path, described_in: str) -> None:
    harmful = [
        "torch.ops.aten.save", "torch.ops.aten.from_file", "torch.ops.aten.save.out", "torch.ops.mine.op",
        "torch.ops.aten.add.Tensor.more", "torch.ops.aten.add; import os", "xtorch.ops.aten.add", "torch.symbols",
        "torch.ops.aten.", "math.", "_operator.methodcaller", "_operator.add.more", "torchxops.aten.add", "",
    ]  # fmt: skip
    assert [target for target in harmful if is_let_through(tmp_path, "target", target, described_in)] == []


@pytest.mark.parametrize("field", ["expr_str", "guards_code"])
def test_expressions_are_let_through_only_if_they_are_arithmetic_of_sizes(tmp_path: Path, field: str) -> None:
    plain = [
        "2*s0 + 1", "Eq(s0, 4)", "Max(1, s77 // 2) >= 2 and not s1 % 2", "s0 == 1 or -s1 < 2.5", "True", "False",
        "L['images'].size()[0] <= 64", "L['x'].stride()[1]", "L['x'].storage_offset() == 0", "L['x'].dim() == 4",
        "L['x'].size(dim=0)", " s0 ",
    ]  # fmt: skip
    harmful = [
        "os", "l", "s0x", "__import__('os')", "L['x'].shape", "L['x'].__class__", "L['a b']", "L['x'].size().tofile()",
        "lambda: 1", "[s0 for s0 in L]", "(s0 := 1)", "f'{s0}'", "[1]", "{}", "s0 if s1 else s2", "s0; s1", "s0 +",
        "import os", "print", "(" * 500, "-" * 9000 + "1", "~" * 99_000 + "1", "s0\0",
    ]  # fmt: skip
    assert [text for text in plain if not is_let_through(tmp_path, field, text)] == []
    assert [text for text in harmful if is_let_through(tmp_path, field, text)] == []


def test_no_other_text_can_become_code(tmp_path: Path) -> None:
    for field in ("in_spec", "out_spec"):
        assert is_let_through(tmp_path, field, '[1, {"type": "builtins.list", "context": "null"}]')
        assert not is_let_through(tmp_path, field, '[1, {"type": "collections.defaultdict", "default_factory": "os"}]')
    assert is_let_through(tmp_path, "anything", "a_1 b.c,d:e;f/g<h>i+j-k")
    assert [letter for letter in "'\"()[]{}\\=\n#@*%" if is_let_through(tmp_path, "anything", f"a{letter}b")] == []


@pytest.mark.parametrize("name", ["save", "from_file", "load_tensor", "rpc_async", "rpc_sync"])
def test_functions_of_torchscript_that_reach_beyond_the_network_are_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path / "model.pt", {"model/code/a.py": b"x = torch.add(y)", "model/code/b.py": f"{name}(x)".encode()})
    with pytest.raises(HarmfulError, match=repr(name)):
        require_plain_script(tmp_path / "model.pt")


def test_names_that_only_contain_such_a_function_are_let_through(tmp_path: Path) -> None:
    code = b"saved = resave(from_files, preload_tensor, my_rpc_async)"
    write(tmp_path / "model.pt", {"model/code/a.py": code, "model/data.pkl": b"save"})
    require_plain_script(tmp_path / "model.pt")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("check", [require_plain_program, require_plain_script])
def test_two_files_of_one_name_are_refused(tmp_path: Path, check: Callable[[Path], None]) -> None:
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        for _ in range(2):
            archive.writestr("model/version", b"3")
    with pytest.raises(HarmfulError, match="two files of one name"):
        check(tmp_path / "model.pt")


def test_only_the_files_of_a_network_are_let_through(tmp_path: Path) -> None:
    plain = [
        "model/archive_format", "archive_version", "model/byteorder", "model/version", "model/.data/serialization_id",
        "model/data/weights/weight_0", "model/data/weights/weights_config.json", "model/data/constants/tensor_0",
        "model/data/constants/model_constants_config.json", "serialized_state_dict.pt", "serialized_constants.pt",
        "serialized_example_inputs.pt",
    ]  # fmt: skip
    harmful = [
        "a/b/version", "version/a", "xversion", "model/data/weights/a/b", "model/data/weights/a.b.c", "model/data/a",
        "model/data/constants/tensor_", "serialized_state_dict.ptx", "x/serialized_constants.pt", "../version/version",
    ]  # fmt: skip
    refused: list[str] = []
    for name in (*plain, *harmful):
        write(tmp_path / "model.pt2", {name: b""})
        try:
            require_plain_program(tmp_path / "model.pt2")
        except HarmfulError as error:
            assert repr(name) in str(error)
            refused.append(name)
    assert refused == harmful
