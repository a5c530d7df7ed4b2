import pytest
import torch

from models.objective import Batch
from pipeline.hardware.transfer import ALIGNMENT, copy_to_host, pack, unpack

TREE = (
    Batch(torch.arange(12, dtype=torch.uint8).view(1, 3, 2, 2), torch.rand(1, 3, 2, 2)),
    {"ids": torch.tensor([3, 1]), "flag": torch.tensor([True, False, True]), "flipped": False, "none": None},
    [torch.zeros(0, 4), torch.tensor(7.5), torch.rand(5).to(torch.float16)],
)


def test_what_is_packed_is_unpacked_bit_for_bit() -> None:
    leaves, structure = torch.utils._pytree.tree_flatten(TREE)
    found, found_structure = torch.utils._pytree.tree_flatten(unpack(pack(TREE, pinned=False)))
    assert structure == found_structure
    for one, two in zip(leaves, found, strict=True):
        if isinstance(one, torch.Tensor):
            assert one.dtype == two.dtype and torch.equal(one, two)
        else:
            assert one == two


def test_unpacked_tensors_are_aligned_views_of_one_buffer() -> None:
    packed = pack(TREE, pinned=False)
    for leaf in torch.utils._pytree.tree_leaves(unpack(packed)):
        if isinstance(leaf, torch.Tensor) and leaf.numel():
            assert leaf.untyped_storage().data_ptr() == packed.buffer.untyped_storage().data_ptr()
            assert (leaf.data_ptr() - packed.buffer.data_ptr()) % ALIGNMENT == 0


def test_trees_that_differ_in_tensors_values_alone_have_one_layout() -> None:
    one, two = (pack((torch.rand(3), {"flipped": False}), pinned=False) for _ in range(2))
    assert one.layout == two.layout and hash(one.layout) == hash(two.layout)


@pytest.mark.parametrize(
    "other",
    [
        (torch.rand(4), {"flipped": False}),
        (torch.rand(3).double(), {"flipped": False}),
        (torch.rand(3), {"flipped": True}),
        (torch.rand(3), {"straight": False}),
        (torch.rand(3), {"flipped": None}),
    ],
    ids=["shape", "dtype", "value", "name", "nothing"],
)
def test_any_other_difference_is_another_layout(other: object) -> None:
    assert pack(other, pinned=False).layout != pack((torch.rand(3), {"flipped": False}), pinned=False).layout


def test_a_copy_on_the_host_is_left_alone_by_later_work() -> None:
    weight = torch.rand(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    state = {"weight": weight, "names": ["a"], "step": 3}
    wait = copy_to_host(state)
    expected = weight.clone()
    weight.fill_(9)
    copied = wait()
    assert torch.equal(copied["weight"], expected) and copied["weight"].stride() == weight.stride()
    assert (copied["names"], copied["step"]) == (["a"], 3)
