"""A trained generator as an ONNX file."""

import warnings
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.files import replacing
from pipeline.inference.load import Trained
from pipeline.inference.program import OUTPUT, checked, input_channels, input_sizes, metadata, traced

# torch's exporter writes this one; others are converted from it.
OPSET = 18
# torch.onnx uses the first two, and the check the third.
PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def require_onnx() -> None:
    """Raise UserError if a package is missing."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(f"--onnx: {missing[0]} is not installed. Run: pip install 'cut-ablation[export]'")


def write_onnx(trained: Trained, path: Path) -> float:
    """Write the generator with its metadata. Return the difference of onnxruntime's outputs, as `checked`."""
    # The extra `export`.
    from onnxruntime import InferenceSession

    names = list(input_channels(trained.generator))
    content = _converted(trained)
    with replacing(path) as partial:
        partial.write_bytes(content)
        session = InferenceSession(str(partial), providers=["CPUExecutionProvider"])

        def run(*inputs: Tensor) -> Tensor:
            given = {name: image.numpy() for name, image in zip(names, inputs, strict=True)}
            return torch.from_numpy(session.run([OUTPUT], given)[0])

        return checked(path, trained.generator, run)


def _converted(trained: Trained) -> bytes:
    """Return the file's content."""
    with warnings.catch_warnings():
        # Inputs that have an axis in common name it once.
        warnings.filterwarnings("ignore", "# The axis name")
        converted = torch.onnx.export(
            traced(trained.generator),
            dynamo=True,
            dynamic_shapes=input_sizes(trained.generator),
            input_names=list(input_channels(trained.generator)),
            output_names=[OUTPUT],
            opset_version=OPSET,
            verbose=False,
        )
    assert converted is not None
    converted.model.metadata_props.update(metadata(trained))
    return converted.model_proto.SerializeToString()
