"""Which node each trial runs on."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cluster.nodes import Node, of_one_device
from pipeline.cluster.placement import Places
from pipeline.config.compose import compose_config
from pipeline.hardware.device import Machine
from pipeline.hardware.share import Share
from pipeline.orchestration.job_queue import JobQueue
from pipeline.trial.job import Outcome, TrialJob

CPU = Machine("cpu", "a CPU", cores=2, gpus=0, memory_gb=8.0)
A100 = Machine("cuda", "NVIDIA A100", cores=8, gpus=2, memory_gb=80.0)
T4 = Machine("cuda", "Tesla T4", cores=4, gpus=1, memory_gb=15.0)
JOB = TrialJob(compose_config(["task=stripes"]), "a", "run", "data", "no/last.pt", "cache", "uri", Share(1, 0, 4, 2))
SHARES = {CPU: Share(1, 0.0, 4.0, 2), A100: Share(1, 0.5, 40.0, 4), T4: Share(1, 1.0, 15.0, 1)}


def share_on(key: str, machine: Machine, least_gb: float) -> Share | None:
    share = SHARES[machine]
    if least_gb > share.memory_gb:
        share = replace(share, gpus=1.0, memory_gb=machine.memory_gb, slots=machine.gpus)
    return share if share.memory_gb >= least_gb else None


def offers(*nodes: Node) -> Mapping[str, Mapping[str, float]]:
    return {
        node.id: {"CPU": node.machine.cores, "GPU": node.machine.gpus, "memory": node.machine.memory_gb * 1e9}
        for node in nodes
    }


def places(*nodes: Node, spread: bool = True, wanted: Mapping[str, str] | None = None) -> Places:
    return Places(nodes, share_on, lambda: offers(*nodes), wanted or {}, spread=spread)


def named(number: int) -> TrialJob:
    return replace(JOB, key=f"trial {number}")


ONE, TWO = Node("1", "127.0.0.3", CPU), Node("2", "127.0.0.4", CPU)


def where(found: Places, count: int) -> list[str]:
    placed = [found.place(named(number)) for number in range(count)]
    return [job.node if job else "" for job in placed]


def test_trials_spread_over_the_nodes_or_fill_one_after_the_other() -> None:
    assert where(places(ONE, TWO), 5) == ["1", "2", "1", "2", ""]
    assert where(places(ONE, TWO, spread=False), 5) == ["1", "1", "2", "2", ""]


def test_all_nodes_count_and_not_the_machine_of_the_driver() -> None:
    six = Node("6", "127.0.0.5", replace(CPU, cores=6, memory_gb=24.0))
    SHARES[six.machine] = Share(1, 0.0, 4.0, 6)
    assert places(ONE, six).slots("any") == 8
    assert "" not in where(places(ONE, six), 8)


def test_a_trial_gets_the_share_of_the_kind_of_gpu_that_it_gets() -> None:
    found = places(Node("a", "", A100), Node("t", "", T4), spread=False)
    placed = [found.place(named(number)) for number in range(6)]
    assert sorted((job.node, job.share.memory_gb) for job in placed if job) == [("a", 40.0)] * 4 + [("t", 15.0)]
    assert placed[-1] is None
    assert {job.config.compute.device for job in placed if job} == {"cuda"}


def test_a_row_gets_the_gpu_that_it_asks_for_or_is_refused_before_anything_runs() -> None:
    nodes = Node("a", "", A100), Node("t", "", T4)
    found = places(*nodes, wanted={"trial 0": "t4", "trial 1": "H100"})
    assert where(found, 1) == ["t"]
    assert found.missing_gpu("trial 0") == found.missing_memory("trial 0") == ""
    assert found.place(named(1)) is None
    assert "H100" in found.missing_gpu("trial 1") and "Tesla T4" in found.missing_gpu("trial 1")


def test_memory_is_missing_if_only_other_gpus_than_the_wanted_have_enough() -> None:
    def large(key: str, machine: Machine, least_gb: float) -> Share | None:
        return SHARES[A100] if machine is A100 else None

    nodes = Node("a", "", A100), Node("t", "", T4)
    found = Places(nodes, large, lambda: offers(*nodes), {"trial 0": "T4"}, spread=True)
    assert "memory" in found.missing_memory("trial 0")
    assert found.missing_gpu("trial 0") == found.missing_memory("trial 1") == ""


def test_what_others_use_is_not_given_away() -> None:
    busy = {"1": {"CPU": 1.0, "memory": 8e9}, "2": {"CPU": 2.0, "memory": 1e9}}
    found = Places([ONE, TWO], share_on, lambda: busy, {}, spread=True)
    # The first is given to Ray in any case, which lets it wait: a sweep that runs nothing would wait for ever.
    assert where(found, 2) == ["1", "1"]
    busy["1"]["CPU"] = 0.0
    found.leave("trial 1")
    assert found.place(named(7)) is None


def test_a_trial_that_ran_out_of_memory_goes_only_where_there_is_more() -> None:
    queue = JobQueue([JOB], A100, places(Node("t", "", T4), Node("a", "", A100)))
    first = queue.next()
    assert first and first.node == "t"
    assert queue.end("a", Outcome("memory"))
    second = queue.next()
    assert second and (second.node, second.share.memory_gb) == ("a", 40.0)
    assert queue.end("a", Outcome("memory"))
    third = queue.next()
    assert third and (third.node, third.share.memory_gb) == ("a", 80.0)
    assert not queue.end("a", Outcome("memory")) and queue.finished


def test_trials_of_a_node_that_left_go_elsewhere_first_and_know_that_it_is_lost() -> None:
    found = places(ONE, TWO)
    queue = JobQueue([named(number) for number in range(5)], CPU, found)
    running = [queue.next() for _ in range(4)]
    assert queue.next() is None
    queue.lost_nodes.add("1")
    found.remove("1")
    for job in running:
        if job and job.node == "1":
            assert queue.end(job.key, Outcome("lost", "gone"))
    assert queue.next() is None  # no room yet
    assert queue.end("trial 1", Outcome("done")) is False
    again = queue.next()
    assert again and again.key in ("trial 0", "trial 2") and (again.node, again.lost_nodes) == ("2", ("1",))


def test_a_node_that_joins_is_used() -> None:
    found = places(ONE)
    assert where(found, 3) == ["1", "1", ""]
    found.add(TWO)
    assert found.place(named(7)) is None  # Ray does not offer it yet
    found = Places([ONE], share_on, lambda: offers(ONE, TWO), {}, spread=True)
    found.add(TWO)
    assert sorted(where(found, 4)) == ["1", "1", "2", "2"]


FAILED = Outcome("failed", "no such file")


def test_a_node_where_one_trial_after_the_other_fails_at_once_is_set_aside_and_burns_no_trial() -> None:
    found = places(ONE, TWO)
    queue = JobQueue([named(number) for number in range(6)], CPU, found)
    ended: list[str] = []
    aside: list[Node] = []
    while not queue.finished:
        job = queue.next()
        assert job
        broken = job.node == "1"
        found.works(job.key) if not broken else None
        again = queue.end(job.key, FAILED if broken else Outcome("done"))
        aside += found.newly_set_aside()
        ended += [] if again else [job.node]
    assert ended == ["2"] * 6 and aside == [ONE]


def test_a_trial_that_fails_everywhere_is_to_blame_and_not_its_nodes() -> None:
    found = places(ONE, TWO)
    queue = JobQueue([JOB], CPU, found)
    nodes: list[str] = []
    while not queue.finished:
        job = queue.next()
        assert job
        nodes.append(job.node)
        queue.end(job.key, FAILED)
    assert sorted(nodes) == ["1", "2"]
    assert found.newly_set_aside() == [] and len(found.nodes) == 2


def test_what_a_node_that_will_end_asked_to_save_goes_on_elsewhere() -> None:
    queue = JobQueue([JOB], CPU, places(ONE, TWO))
    queue.next()
    assert queue.end("a", Outcome("interrupted", "Saved at step 4 of 12."))
    assert queue.next()


def test_rows_of_one_table_run_on_one_kind_of_device() -> None:
    gpu = Node("g", "", T4)
    assert of_one_device([ONE, gpu], "auto") == ([gpu], [ONE])
    assert of_one_device([ONE, gpu], "cpu") == ([ONE], [gpu])
    assert of_one_device([ONE, TWO], "auto") == ([ONE, TWO], [])


@given(st.lists(st.sampled_from(["start", "end"]), max_size=60), st.booleans())
def test_no_node_ever_has_more_than_it_offers(events: list[str], spread: bool) -> None:
    nodes = Node("1", "", CPU), Node("a", "", A100), Node("t", "", T4)
    found, running, number = places(*nodes, spread=spread), list[TrialJob](), 0
    for event in events:
        if event == "start" and (job := found.place(named(number := number + 1))):
            running.append(job)
        elif event == "end" and running:
            found.leave(running.pop(0).key)
        for node in nodes:
            shares = [job.share for job in running if job.node == node.id]
            assert sum(share.cpus for share in shares) <= node.machine.cores
            assert sum(share.gpus for share in shares) <= node.machine.gpus
            assert node.machine.gpus or sum(share.memory_gb for share in shares) <= node.machine.memory_gb


@pytest.mark.parametrize(
    ("parts", "gpus", "fits"), [([0.6, 0.6], 1, False), ([0.6, 0.6], 2, True), ([2.0, 0.5], 2, False)]
)
def test_no_part_of_a_gpu_is_divided_between_two(parts: list[float], gpus: int, fits: bool) -> None:
    machine = replace(A100, gpus=gpus)
    shares = dict(zip(("x", "y"), (Share(1, part, 1.0, 1) for part in parts), strict=True))
    found = Places(
        [Node("n", "", machine)], lambda key, *_: shares[key], lambda: offers(Node("n", "", machine)), {}, spread=True
    )
    assert all(found.place(replace(JOB, key=key)) for key in shares) == fits
