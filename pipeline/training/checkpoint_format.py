"""The content of a trial's checkpoint, and how files of earlier formats are read.

To change the content, raise FORMAT and add a step to `migrate`. A new setting with a default needs neither: old
checkpoints get the default.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.config.schema import Config, from_json, to_json, violations
from pipeline.config.trial_key import keyed_fields
from pipeline.errors import UserError
from pipeline.training.checkpoint import StorageError, load_checkpoint, set_aside, two_newest
from pipeline.training.state import TrainState

FORMAT = 2
OTHER_VERSION = "Use the version of this project that wrote the file, or train the trial again."


def checkpoint_content(
    config: Config, state: TrainState, evaluations: Mapping[int, Mapping[str, float]], meter: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a trial's checkpoint holds. evaluations: scores by step. meter: `CostMeter.state_dict`."""
    own = {"format": FORMAT, "config": to_json(config), "evaluations": dict(evaluations), "meter": meter}
    return own | state.state_dict()


def is_trial(content: Mapping[str, Any]) -> bool:
    """Return whether this is the content of a trial's checkpoint, of any format, and not the reference code's."""
    return "objective" in content


def load_newest(path: Path, config: Config, logged_step: int, fetched: Sequence[Path] = ()) -> dict[str, Any]:
    """Return what a trial's newest usable checkpoint holds; nothing if there is none. path: of the last one.

    fetched: checkpoints of the same trial from elsewhere, the newest first. They may be older or newer than those here.

    Prints on stderr why another one is not used. A checkpoint ahead of `logged_step`, the last step in the MLflow run,
    belongs to an earlier run and stays: the new run must hold the whole trial. Any other is set aside. Raises
    StorageError if a file cannot be read.
    """
    files = [*two_newest(path), *fetched]
    newest: dict[str, Any] = {}
    source = path
    for file in files:
        try:
            saved = load_trial(file, config)
        except StorageError:
            raise
        except UserError as error:
            print(f"{error} It is kept as {set_aside(file).name}.", file=sys.stderr)
            continue
        if saved["step"] > logged_step:
            print(f"{file}, step {saved['step']}, is ahead of the MLflow run, step {logged_step}.", file=sys.stderr)
        elif not newest or saved["step"] > newest["step"]:
            newest, source = saved, file
            if not fetched:
                break
    if newest:
        print(f"Training goes on from {source}, step {newest['step']}.", file=sys.stderr)
    elif files:
        print("No checkpoint can be used. Training starts from the beginning.", file=sys.stderr)
    return newest


def load_trial(file: Path, config: Config) -> dict[str, Any]:
    """Return the content of a checkpoint, in the current format, of a trial with this configuration.

    Raises UserError if the file is damaged, of a format that is not known, or of another trial.
    """
    saved = migrate(load_checkpoint(file), file)
    if not is_trial(saved):
        raise UserError(f"{file} is not a trial's checkpoint.")
    if "config" in saved:  # the first versions wrote none
        ours, theirs = keyed_fields(config), keyed_fields(config_in(saved, file))
        for name in sorted({*ours, *theirs}):
            if ours.get(name) != theirs.get(name):
                values = f"its {name} is {theirs.get(name)}, not {ours.get(name)}"
                raise UserError(f"{file} belongs to another trial: {values}.")
    return saved


def migrate(saved: Mapping[str, Any], file: Path, advice: str = "") -> dict[str, Any]:
    """Return the content of a trial's checkpoint in the current format.

    Raises UserError, which ends with the advice, for a format that this version does not know.
    """
    found = saved.get("format", 1)
    if found not in range(1, FORMAT + 1):
        raise UserError(
            f"{file} has checkpoint format {found!r}. This version of the project reads formats 1 to {FORMAT}. Use the "
            f"version that wrote the file. {advice}".rstrip()
        )
    content = dict(saved)
    if found < 2:
        content |= _from_1_to_2(saved)
    return content


def _from_1_to_2(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Format 1 had no number. The meter was two sums at first, and `gpus_per_trial` could have any value above 0."""
    changed: dict[str, Any] = {"format": 2}
    if "meter" not in saved:
        changed["meter"] = {"sums": {name: saved.get(name, 0) for name in ("training_seconds", "evaluation_seconds")}}
    if "config" in saved:
        config = json.loads(saved["config"])
        # Values such as 1.5 or with more than four decimals are no longer allowed. Nothing reads this one again.
        config.get("compute", {}).pop("gpus_per_trial", None)
        changed["config"] = json.dumps(config)
    return changed


def config_in(content: Mapping[str, Any], file: Path) -> Config:
    """Return the configuration of a trial's checkpoint in the current format.

    Raises UserError if it is missing, invalid, or has settings that this version does not know.
    """
    if "config" not in content:
        raise UserError(f"{file} has no configuration. {OTHER_VERSION}")
    try:
        return from_json(content["config"])
    except ValidationError as error:
        raise UserError(f"{file}: its configuration is not valid: {violations(error)[0][1]}. {OTHER_VERSION}") from None
