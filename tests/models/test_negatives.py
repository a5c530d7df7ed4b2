from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.build import build_objective
from models.configs.contrast import ExternalConfig
from models.configs.cut import CUT, CUTConfig
from models.configs.images import ImageShape
from models.configs.networks import DiscriminatorConfig, GeneratorConfig
from models.contrast.queue import ExternalNegatives, PatchQueue
from models.networks.generator import encoder_stages
from models.objective import Batch, sample_step

TINY = replace(
    CUT,
    generator=GeneratorConfig(4, 5),
    discriminator=DiscriminatorConfig(4, 2),
    num_patches=8,
    projection_units=8,
    negatives=("external",),
    external=ExternalConfig(momentum=0.9, queue_size=32, num_negatives=7, warmup=16),
)


def objective_of(config: CUTConfig = TINY, seed: int = 0):
    return build_objective(config, ImageShape(16, 16), torch.Generator().manual_seed(seed))


def batch(seed: int = 0) -> Batch:
    rng = torch.Generator().manual_seed(seed)
    return Batch(torch.rand(1, 3, 16, 16, generator=rng), torch.rand(1, 3, 16, 16, generator=rng))


def queue_of(size: int, warmup: int = 1, count: int = 1) -> PatchQueue:
    return PatchQueue(ExternalConfig(queue_size=size, num_negatives=count, warmup=warmup), units=1)


def push(queue: PatchQueue, first: int, count: int) -> Tensor | None:
    """Push the numbers from `first` as embeddings, after as many pushes. Return the embeddings that the queue gave."""
    slots, pushed = queue.sample(count, torch.Generator().manual_seed(0), first)
    assert pushed == first + count
    return queue.exchange(torch.arange(first, first + count, dtype=torch.float32)[None, :, None], slots)


def test_queue_keeps_the_latest_embeddings() -> None:
    queue = queue_of(4)
    push(queue, 0, 3)
    push(queue, 3, 3)
    assert sorted(queue.keys_QD.flatten().tolist()) == [2, 3, 4, 5]


def test_queue_shorter_than_a_push_keeps_the_last_embeddings() -> None:
    queue = queue_of(2)
    push(queue, 0, 5)
    assert sorted(queue.keys_QD.flatten().tolist()) == [3, 4]


def test_queue_samples_different_filled_slots() -> None:
    queue = queue_of(9, warmup=6, count=4)
    read = queue.sample(1, torch.Generator().manual_seed(0), 6)[0].read
    assert read is not None and len(set(read.tolist())) == 4 and set(read.tolist()) <= set(range(6))
    assert queue.sample(1, torch.Generator(), 5)[0].read is None


def test_queue_gives_copies_of_what_it_held_before_the_push() -> None:
    queue = queue_of(4, warmup=4, count=4)
    assert push(queue, 0, 4) is None
    given = push(queue, 4, 4)
    queue.keys_QD.fill_(9)
    assert given is not None and sorted(given.flatten().tolist()) == [0, 1, 2, 3]


def test_counts_of_queues_stay_with_the_host() -> None:
    queue = queue_of(9).to("meta")
    assert queue.keys_QD.is_meta and queue.pushed.device.type == "cpu"


def test_external_gives_nothing_until_warm_and_then_the_number_asked_for() -> None:
    objective, rng = objective_of(), torch.Generator().manual_seed(1)
    counts: list[int] = []
    for step in range(4):
        fakes = objective.generate(batch(step), sample_step(objective, 1, rng))
        counts.append(len(fakes.contrasts["a"].extra.get("res5", {}).get("queued_ND", ())))
    # 8 patches a step: after two steps the queue holds the 16 of its warm-up.
    assert counts == [0, 0, 7, 7]


def test_external_negatives_of_a_step_come_from_earlier_images() -> None:
    objective = objective_of()
    assert objective.external is not None
    rng = torch.Generator().manual_seed(1)
    for step in range(3):
        before = objective.external.queues["a"]["res5"].keys_QD.clone()
        fakes = objective.generate(batch(step), sample_step(objective, 1, rng))
    assert len(fakes.contrasts["a"].extra["res5"]["queued_ND"]) == 7
    assert all((before == row).all(1).any() for row in fakes.contrasts["a"].extra["res5"]["queued_ND"])


def test_each_domain_has_its_own_queue() -> None:
    objective = objective_of()
    assert objective.external is not None
    objective.generate(batch(), sample_step(objective, 1, torch.Generator().manual_seed(1)))
    a, b = (objective.external.queues[domain]["res5"].keys_QD for domain in ("a", "b"))
    assert a.abs().sum() > 0 and b.abs().sum() > 0 and not torch.equal(a, b)
    alone = objective_of(replace(TINY, identity_weight=0.0))
    assert alone.external is not None and list(alone.external.queues) == ["a"]


def test_momentum_copies_follow_by_the_stated_share() -> None:
    objective = objective_of()
    external = objective.external
    assert isinstance(external, ExternalNegatives)
    networks = (external.projector, external.stages)
    with torch.no_grad():
        for parameter in [*objective.generator.parameters(), *objective.projector.parameters()]:
            parameter.add_(1.0)
    old = [parameter.clone() for network in networks for parameter in network.parameters()]
    online = (objective.projector, encoder_stages(objective.generator, external.layers))
    objective.generate(batch(), sample_step(objective, 1, torch.Generator().manual_seed(1)))
    now = [parameter for network in networks for parameter in network.parameters()]
    new = [parameter for network in online for parameter in network.parameters()]
    for was, moved, goal in zip(old, now, new, strict=True):
        torch.testing.assert_close(moved, 0.9 * was + 0.1 * goal)


def test_momentum_copies_are_not_trained() -> None:
    objective = objective_of()
    trained = {id(parameter) for phase in objective.phases for parameter in objective.parameters_of(phase)}
    assert not any(id(parameter) in trained or parameter.requires_grad for parameter in objective.external.parameters())


@pytest.mark.parametrize("settings", [{"num_negatives": 0}, {"warmup": 3}, {"queue_size": 8}])
def test_settings_that_cannot_work_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="num_negatives <= warmup <= queue_size"):
        replace(TINY.external, **settings)
