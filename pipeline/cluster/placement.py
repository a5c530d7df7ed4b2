"""Which node each trial runs on. Pure: it knows what nodes have, and asks for what they can give now."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.cluster.nodes import Node
from pipeline.hardware.device import Machine
from pipeline.hardware.share import Share
from pipeline.trial.job import TrialJob

# A node on which so many trials have failed before their first step, with none in between that trained, is set aside.
MOST_FAST_FAILURES = 2
# Ray counts in steps of 1/10000.
ROUNDING = 1e-6

# The share of a trial on a machine, by the trial's key and its least memory (10^9 bytes); None: it does not fit.
ShareOn = Callable[[str, Machine, float], Share | None]
# What each node can give now, in Ray's words ('CPU', 'GPU', 'memory' in bytes), by its id.
Free = Callable[[], Mapping[str, Mapping[str, float]]]


@dataclass
class _Use:
    """What runs on a node, by key, and the trials that failed there before their first step."""

    node: Node
    running: dict[str, Share] = field(default_factory=dict[str, Share])
    failed: set[str] = field(default_factory=set[str])

    @property
    def load(self) -> float:
        """The part of the node that is in use."""
        machine = self.node.machine
        if machine.device == "cuda":
            return sum(share.gpus for share in self.running.values()) / machine.gpus
        return sum(share.cpus for share in self.running.values()) / machine.cores

    def has_room(self, share: Share) -> bool:
        machine, shares = self.node.machine, [*self.running.values(), share]
        fits = sum(one.cpus for one in shares) <= machine.cores
        if machine.device == "cuda":
            return fits and _fit_on_gpus([one.gpus for one in shares], machine.gpus)
        return fits and sum(one.memory_gb for one in shares) <= machine.memory_gb + ROUNDING


class Places:
    """The nodes of a cluster and their trials.

    spread: choose the emptiest node with room, not the fullest. wanted_gpu: the part of a GPU's name that a trial asks
    for, by its key.
    """

    def __init__(
        self, nodes: Sequence[Node], share_on: ShareOn, free: Free, wanted_gpu: Mapping[str, str], *, spread: bool
    ) -> None:
        self._uses = {node.id: _Use(node) for node in nodes}
        self._share_on, self._free, self._wanted, self._spread = share_on, free, wanted_gpu, spread
        self._set_aside: set[str] = set()
        # Where a trial must not run again: it failed there at once, and may not be to blame.
        self._avoid: dict[str, set[str]] = {}
        self._least_gb: dict[str, float] = {}

    @property
    def nodes(self) -> list[Node]:
        """The nodes that get trials."""
        return [use.node for use in self._uses.values() if use.node.id not in self._set_aside]

    def slots(self, key: str) -> int:
        """Return how many trials like this one can run at once."""
        shares = [self._share_on(key, node.machine, 0.0) for node in self._asked_for(key)]
        return sum(share.slots for share in shares if share)

    def place(self, job: TrialJob) -> TrialJob | None:
        """Return the job with its node and its share there; None if no node has room for it now.

        If nothing runs, Ray is not asked what is free: Tune waits for a job then, and does not end its idle workers.
        """
        idle = not any(use.running for use in self._uses.values())
        free = {} if idle else self._free()
        candidates: list[tuple[float, str, Share]] = []
        for id, use in self._uses.items():
            if id in self._set_aside or id in self._avoid.get(job.key, ()) or not self._is_wanted(job.key, use.node):
                continue
            share = self._share_on(job.key, use.node.machine, self._least_gb.get(job.key, 0.0))
            if share and use.has_room(share) and (idle or _gives(free.get(id, {}), share)):
                candidates.append((use.load if self._spread else -use.load, id, share))
        if not candidates:
            return None
        _, id, share = min(candidates, key=lambda found: found[0])
        use = self._uses[id]
        use.running[job.key] = share
        compute = replace(job.config.compute, cpus_per_trial=share.cpus, device=use.node.machine.device)
        return replace(job, share=share, node=id, host=use.node.address, config=replace(job.config, compute=compute))

    def missing_gpu(self, key: str) -> str:
        """Return that no node has the GPU that a trial asks for, or ''."""
        wanted = self._wanted.get(key, "")
        if not wanted or self._asked_for(key):
            return ""
        names = sorted({node.machine.name for node in self.nodes})
        return f"compute.gpu={wanted}: no node has such a GPU; the nodes have {', '.join(names)}"

    def missing_memory(self, key: str) -> str:
        """Return that no node with the GPU that a trial asks for has enough memory for it, or ''."""
        fits = any(self._share_on(key, node.machine, 0.0) for node in self._asked_for(key))
        return "" if fits else "no node has enough memory for it"

    def leave(self, key: str) -> Node | None:
        """A trial has ended. Return where it ran."""
        for use in self._uses.values():
            if use.running.pop(key, None):
                return use.node
        return None

    def add(self, node: Node) -> None:
        """A node has joined."""
        self._uses[node.id] = _Use(node)

    def remove(self, id: str) -> None:
        """A node has left."""
        self._uses.pop(id, None)

    def needs_more(self, key: str, memory_gb: float) -> bool:
        """A trial ran out of so much memory. Return whether a node can give it more."""
        self._least_gb[key] = memory_gb * (1 + ROUNDING)
        return any(self._share_on(key, node.machine, self._least_gb[key]) for node in self._asked_for(key))

    def works(self, key: str) -> None:
        """A trial has made a step, so its node works."""
        for use in self._uses.values():
            if key in use.running:
                use.failed.clear()

    def failed_at_once(self, key: str, node: Node) -> bool:
        """A trial has failed before its first step. Return whether it may try another node, which it may once."""
        before = self._avoid.get(key, set())
        elsewhere = [other for other in self.nodes if other.id not in {node.id, *before}]
        if before or not elsewhere or node.id not in self._uses:
            # The trial is to blame, and not its nodes.
            for id in before & self._uses.keys():
                self._uses[id].failed.discard(key)
            return False
        self._uses[node.id].failed.add(key)
        self._avoid[key] = {node.id}
        return True

    def newly_set_aside(self) -> list[Node]:
        """Set nodes aside on which one trial after the other fails at once, and return them. One node always stays."""
        found = [node for node in self.nodes if len(self._uses[node.id].failed) >= MOST_FAST_FAILURES]
        if len(found) == len(self.nodes):
            return []
        self._set_aside |= {node.id for node in found}
        return found

    def _asked_for(self, key: str) -> list[Node]:
        """Return the nodes with the kind of GPU that a trial asks for."""
        return [node for node in self.nodes if self._is_wanted(key, node)]

    def _is_wanted(self, key: str, node: Node) -> bool:
        return self._wanted.get(key, "").casefold() in node.machine.name.casefold()


def _fit_on_gpus(parts: Sequence[float], gpus: int) -> bool:
    """Return whether so many GPUs can hold these parts: Ray never divides a part between two GPUs."""
    left = [1.0] * gpus
    for part in sorted(parts, reverse=True):
        if part > 1:
            whole = [number for number, room in enumerate(left) if room >= 1 - ROUNDING][: round(part)]
            if len(whole) < round(part):
                return False
            for number in whole:
                left[number] = 0.0
            continue
        number = next((number for number, room in enumerate(left) if room >= part - ROUNDING), None)
        if number is None:
            return False
        left[number] -= part
    return True


def _gives(free: Mapping[str, float], share: Share) -> bool:
    """Return whether Ray can give this share on a node now."""
    if free.get("CPU", 0.0) < share.cpus - ROUNDING or free.get("GPU", 0.0) < share.gpus - ROUNDING:
        return False
    return bool(share.gpus) or free.get("memory", 0.0) >= share.memory_gb * 1e9 * (1 - ROUNDING)
