"""just clean: show what takes disk space, and remove what is asked for."""

import json
from collections import Counter
from collections.abc import Sequence

from rich.table import Column, Table
from rich.text import Text

from analysis.records.console import wide_console
from pipeline.cli.drop import confirmed
from pipeline.config.compose import compose_surroundings, tracking_uri
from pipeline.config.schema import PathsConfig
from pipeline.disk.removal import remove_part
from pipeline.disk.usage import GROUPS, Part, find_parts
from pipeline.errors import UserError, nearest
from pipeline.storage.address import is_address
from pipeline.trial.lock import is_claimed

MB, GB = 1e6, 1e9


def clean(arguments: Sequence[str], *, yes: bool, as_json: bool) -> int:
    """Show the parts of the project's folders with their sizes, or remove those that are named. Ask first, unless yes.

    arguments: names of parts, and settings that say where the folders are.
    """
    names = [text for text in arguments if "=" not in text]
    config = compose_surroundings([text for text in arguments if "=" in text])
    uri = tracking_uri(config)
    parts = find_parts(config.paths, uri)
    if as_json:
        if names:
            raise UserError(f"just clean --json only shows. Leave out {' '.join(names)}, or leave out --json.")
        print(json.dumps([_for_scripts(part) for part in parts], indent=2))
        return 0
    if not names:
        _show(parts, uri)
        _print_addresses(config.paths)
        return 0
    chosen = _chosen(names, parts)
    for part in chosen:
        print(f"{part.name}: {part.content}, {_count(part)}, {_size(part.size)}")
    if not chosen:
        print(f"{', '.join(names)}: nothing is there. Nothing to remove.")
        return 0
    for line in _losses(chosen):
        print(line)
    if not yes and not confirmed(f"Delete {_size(sum(part.size for part in chosen))}?"):
        print("Nothing was removed.")
        return 1
    removed = [remove_part(part, config.paths, uri) for part in chosen]
    for line in (line for _, left in removed for line in left):
        print(f"Left: {line}.")
    print(f"Freed {_size(sum(freed for freed, _ in removed))}.")
    return 0


def _chosen(names: Sequence[str], parts: Sequence[Part]) -> list[Part]:
    """Return the parts that are named. Trials of several sweeps are chosen if all their sweeps are named."""
    known = {"logs", "results", "downloads", "old-trials", "single-trials", "unrecorded-trials", "unused-trials"}
    known |= {*GROUPS, *(name for group in GROUPS.values() for name in group)}
    known |= {name for part in parts for name in _names_of(part)}
    for name in names:
        if name not in known:
            raise UserError(f"just clean: nothing is called {name!r}; {nearest(name, known)}")
    wanted = {single for name in names for single in GROUPS.get(name, (name,))}
    return [part for part in parts if part.name and wanted >= set(_names_of(part))]


def _names_of(part: Part) -> list[str]:
    """Return what has to be named for a part. Names of sweeps may have spaces."""
    if part.name.startswith("sweep:"):
        return [f"sweep:{sweep}" for sweep in part.sweeps]
    return [part.name] if part.name else []


def _losses(chosen: Sequence[Part]) -> list[str]:
    """Return what can no longer be done once these parts are removed."""
    lines: list[str] = []
    missing = Counter[str]()
    for part in chosen:
        missing.update(part.sweeps)
    for sweep, count in sorted(missing.items()):
        trials = "1 trial" if count == 1 else f"{count} trials"
        lines.append(f"{sweep}: {trials} can no longer be translated, evaluated or resumed. Its tables stay.")
    if any(part.name == "unrecorded-trials" for part in chosen):
        lines.append("This store has no record of the unrecorded trials. Another store may have one.")
    return lines


def _show(parts: Sequence[Part], uri: str) -> None:
    table = Table("content", *(Column(name, justify="right") for name in ("number", "size")), "just clean …", "")
    for part in parts:
        running = sum(is_claimed(path, uri) for path in part.paths) if part.kind == "trials" else 0
        notes = [*([f"{running} running"] if running else []), *([part.note] if part.note else [])]
        table.add_row(Text(part.content), str(part.count), _size(part.size), Text(_typed(part)), Text("; ".join(notes)))
    console = wide_console()
    console.print(table)
    caches = sum(part.size for part in parts if part.name in GROUPS["caches"])
    console.print(f"In all {_size(sum(part.size for part in parts))}. just clean caches frees {_size(caches)}.")


def _print_addresses(paths: PathsConfig) -> None:
    for name, place in (("trials", paths.trials), ("results", paths.results)):
        if is_address(place):
            folder = f"{paths.cache}/{name}"
            print(f"paths.{name}={place} is not shown and stays. Shown are the copies on this machine, in {folder}.")


def _typed(part: Part) -> str:
    """Return what to type, in quotes where a shell needs them."""
    return " ".join(f"'{name}'" if " " in name else name for name in _names_of(part)) or "–"


def _for_scripts(part: Part) -> dict[str, object]:
    return {
        "name": _typed(part) if part.name else "",
        "content": part.content,
        "count": part.count,
        "bytes": part.size,
        "note": part.note,
        "sweeps": dict(part.sweeps),
        "paths": [str(path) for path in part.paths],
    }


def _count(part: Part) -> str:
    one, many = {"trials": ("trial", "trials"), "cache": ("entry", "entries"), "logs": ("file", "files")}.get(
        part.kind, ("folder", "folders")
    )
    return f"{part.count} {one if part.count == 1 else many}"


def _size(size: int) -> str:
    return f"{size / GB:.2f} GB" if size >= GB else f"{size / MB:.1f} MB"
