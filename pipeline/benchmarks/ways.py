"""The ways to do a step, and the choices of CUT, that `just bench step` compares."""

from collections.abc import Sequence

from pipeline.config.compose import compose_config
from pipeline.config.schema import Config
from pipeline.errors import UserError, nearest
from pipeline.training.execution import resolve_execution
from pipeline.training.step_cost import has_plain_step

PLAIN = "plain"
CPU_WAYS = {
    "no switch": ("train.channels_last=false",),
    "channels last": ("train.channels_last=true",),
    "recompute": ("train.channels_last=false", "train.recompute=true"),
    "bf16": ("train.channels_last=false", "train.precision=bf16"),
    "compile": ("train.channels_last=false", "train.compile=true"),
    "default": (),
    "default + recompute": ("train.recompute=true",),
    "default + bf16": ("train.precision=bf16",),
    "default + bf16 + recompute": ("train.precision=bf16", "train.recompute=true"),
}
_FIRST, _LAST = "train.channels_last=false", "train.channels_last=true"
_BF16, _GRAPHS, _COMPILE = "train.precision=bf16", "train.cuda_graphs=true", "train.compile=true"
_EAGER = "train.cuda_graphs=false"
CUDA_WAYS = {
    "default": (),
    "no switch": (_FIRST, _EAGER),
    "channels last": (_LAST, _EAGER),
    "bf16": (_FIRST, _EAGER, _BF16),
    "bf16 + channels last": (_LAST, _EAGER, _BF16),
    "CUDA graphs": (_FIRST, _GRAPHS),
    "bf16 + CUDA graphs": (_FIRST, _BF16, _GRAPHS),
    "bf16 + channels last + CUDA graphs": (_LAST, _BF16, _GRAPHS),
}
# Each takes minutes.
COMPILED_CUDA_WAYS = {
    "compile": (_FIRST, _EAGER, _COMPILE),
    "bf16 + channels last + compile": (_LAST, _EAGER, _BF16, _COMPILE),
    "bf16 + channels last + compile + CUDA graphs": (_LAST, _BF16, _COMPILE, _GRAPHS),
}
# CUT with other negatives, weights, queries, or the relation, each in the device's default way.
CHOICES = {
    "default": (),
    "external": ("model.negatives=[external]",),
    "generated": ("model.negatives=[generated]",),
    "generated, not through the encoder": ("model.negatives=[generated]", "model.generated.through_encoder=false"),
    "internal and other domain": ("model.negatives=[internal,other_domain]",),
    "hard and decoupled": ("model.weighting=hard", "model.decoupled=true"),
    "optimal transport": ("model.weighting=optimal_transport",),
    "optimal transport, not through queries": (
        "model.weighting=optimal_transport",
        "model.optimal_transport.through_queries=false",
    ),
    "top k": ("model.weighting=top_k",),
    "attention": ("model.queries=attention",),
    "local attention": ("model.queries=attention", "model.attention.window=local"),
    "discriminator": ("model.queries=discriminator",),
    "semantic relation": ("model.relation=semantic",),
}


def ways_on(
    device: str, given: Sequence[str], *, only: Sequence[str] = (), compiling: bool = False, choices: bool = False
) -> dict[str, Config]:
    """Return the configuration of each way. Ways that are the same on this kind of device share a row.

    only: names of the wanted ways, empty for all. compiling: on CUDA also ways that compile, which take minutes.
    choices: CUT's choices in place of the ways. SinCUT and DCLGAN have no plain way. Raises UserError for an unknown
    name.
    """
    given_config = compose_config(given)
    plain = (PLAIN,) if has_plain_step(given_config.model) else ()
    known: dict[str, tuple[str, ...]] = CPU_WAYS if device == "cpu" else CUDA_WAYS
    if compiling and device != "cpu":
        known = known | COMPILED_CUDA_WAYS
    if choices:
        known = CHOICES
    for name in only:
        if name not in (*plain, *known):
            raise UserError(f"--ways: no way is called {name!r} on {device}; {nearest(name, (*plain, *known))}")
    configs: dict[str, Config] = dict.fromkeys(plain, given_config)
    same: dict[object, list[str]] = {way: [way] for way in plain}
    for way, switches in known.items():
        configs[way] = compose_config([*given, *switches])
        try:
            execution: object = resolve_execution(configs[way].train, device)
        except UserError:
            execution = way  # this machine cannot run it: its own row says why
        same.setdefault(way if choices else execution, []).append(way)
    return {" = ".join(names): configs[names[0]] for names in same.values() if not only or set(names) & set(only)}
