"""Nodes that leave, and that join while a sweep starts or runs."""

import time
from collections.abc import Mapping
from typing import Any

import pytest

from pipeline.cluster import node_watch
from pipeline.cluster.node_check import Questions
from pipeline.cluster.node_watch import NodeWatch
from pipeline.cluster.nodes import Node
from pipeline.cluster.placement import Places
from pipeline.config.compute import ComputeConfig
from pipeline.hardware.device import Machine

CPU = Machine("cpu", "a CPU", cores=1, gpus=0, memory_gb=8.0)
ONE, TWO = Node("1", "127.0.0.3", CPU), Node("2", "127.0.0.4", CPU)
QUESTIONS = Questions(ComputeConfig(device="cpu"), "", "", "", "", "", "", "")


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, Mapping[str, float]]]:
    """What Ray says of its nodes, all of which can run trials. The watch looks each time it is asked to."""

    def judged(joined: Mapping[str, Any], questions: Questions) -> tuple[list[Node], dict[str, str]]:
        return [node for node in (ONE, TWO) if node.id in joined], {}

    nodes: dict[str, tuple[str, Mapping[str, float]]] = {ONE.id: (ONE.address, {"CPU": 1.0})}
    monkeypatch.setattr(node_watch, "live_nodes", lambda: dict(nodes))
    monkeypatch.setattr(node_watch, "_judged", judged)
    monkeypatch.setattr(node_watch, "LOOK_SECONDS", 0.0)
    return nodes


def test_a_node_that_joined_after_the_others_were_asked_is_used(
    alive: dict[str, tuple[str, Mapping[str, float]]],
) -> None:
    places, said = Places([ONE], lambda *_: None, dict, {}, spread=True), list[str]()
    alive[TWO.id] = TWO.address, {"CPU": 1.0}
    with NodeWatch(places, QUESTIONS, {ONE.id: ONE.address}, set(), said.append) as watch:
        deadline = time.monotonic() + 10
        while places.nodes != [ONE, TWO] and time.monotonic() < deadline:
            watch.look()
            time.sleep(0.01)
    assert places.nodes == [ONE, TWO]
    assert said == [f"node {TWO.address} has joined the cluster and runs trials."]


def test_a_node_that_leaves_gets_no_trials_and_the_last_one_is_waited_for(
    alive: dict[str, tuple[str, Mapping[str, float]]],
) -> None:
    places, said, lost = Places([ONE, TWO], lambda *_: None, dict, {}, spread=True), list[str](), set[str]()
    with NodeWatch(places, QUESTIONS, {node.id: node.address for node in (ONE, TWO)}, lost, said.append) as watch:
        watch.look()
        assert (places.nodes, lost) == ([ONE], {TWO.id})
        alive.clear()
        watch.look()
        assert places.nodes == [] and watch.is_gone(ONE.id)
    assert ["elsewhere" in line for line in said] == [True, False]
    assert "waits for another node" in said[-1]
