"""Check the addresses that settings name, before a sweep relies on them: write trials and results, read images."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

from pipeline.config.compose import compose_surroundings
from pipeline.config.schema import Config, FolderConfig
from pipeline.errors import UserError
from pipeline.storage.address import is_address
from pipeline.storage.probe import probe, probe_reading


def address_faults(config: Config) -> Mapping[str, str]:
    """Return for each setting that is an address why it does not work, '' if it does. Takes 8 s at most for each."""
    paths = config.paths
    written = {"paths.trials": paths.trials, "paths.results": paths.results}
    faults = {name: probe(place) for name, place in written.items() if is_address(place)}
    if isinstance(config.data, FolderConfig) and is_address(config.data.root):
        faults["data.root"] = probe_reading(config.data.root)
    return faults


def require_addresses(overrides: Sequence[str]) -> None:
    """Raise UserError, with a line for each, if the settings name addresses that do not work.

    Faults of the settings themselves are left to the plan.
    """
    faults: Mapping[str, str] = {}
    if any("://" in text for text in overrides):
        with suppress(UserError):
            faults = address_faults(compose_surroundings(overrides))
    if found := [f"{name}={fault}." for name, fault in faults.items() if fault]:
        raise UserError(*found)
