"""State when and how a sweep was made, from what its records hold and from nothing else; pure."""

import statistics
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

from analysis.records.names import DEVICE_HOURS, Tag, cost_metric, last_metric, score_label
from analysis.records.schema import SweepRecord
from analysis.report.settings import Pairs, main_settings
from analysis.statistics.estimates import CONFIDENCE, main_score, values_of
from analysis.tables.columns import METHODS
from analysis.tables.sentences import quoted
from analysis.tables.table import STATES

# More rows are only counted.
MOST_NAMED = 12
INTERVALS = (
    "Values: mean ± sample standard deviation over seeds. Differences: mean over paired seeds, with Student's "
    f"{100 * CONFIDENCE:g} % interval; paired t-tests with Holm's correction for the number of rows."
)
SCORED_WITH: Mapping[str, str] = {
    "extractor": Tag.EXTRACTOR, "weights": Tag.WEIGHTS, "layer": Tag.LAYER, "resize": Tag.RESIZE,
    "to 8 bits": Tag.TO_8_BITS, "arithmetic": Tag.ARITHMETIC, "computed by": Tag.COMPUTED_BY,
}  # fmt: skip
VERSIONS: Mapping[str, str] = {
    "commit": Tag.COMMIT, "result version": Tag.RESULT_VERSION, "Python": Tag.PYTHON, "torch": Tag.TORCH,
}  # fmt: skip


def moment(record: SweepRecord) -> str:
    """Return which trials the results are of, and when the last of them ended."""
    counts = Counter(STATES.get(trial["status"], trial["status"].lower()) for trial in record.trials)
    states = ", ".join(f"{count} {state}" for state, count in counts.items())
    last = f" The last ended {ended}." if (ended := _ended(record)) else ""
    return f"{_counted(len(record.trials), 'trial')}: {states}.{last}"


def times(record: SweepRecord) -> Pairs:
    """Return when the trials were made, how long they took, and the hours of a device in all."""
    created = [details.created for details in record.details.values() if details.created]
    rows = {
        "first trial recorded": _date(min(created)) if created else "",
        "last trial ended": _ended(record),
        "training of a trial": _seconds(record, "training_seconds"),
        "evaluations of a trial": _seconds(record, "evaluation_seconds"),
        "device hours": _device_hours(record),
    }
    return tuple((name, text) for name, text in rows.items() if text)


def how_made(record: SweepRecord) -> str:
    """Return a paragraph for a paper's appendix. What is not recorded is left out."""
    known, main, score = _tags(record), main_settings(record), main_score(values_of(record))
    seeds = list(dict.fromkeys(map(str, record.runs.index.get_level_values("seed"))))
    methods = dict.fromkeys(str(row.settings.get("model.method", "")) for row in record.rows)
    method = ", ".join(METHODS.get(name, name) for name in methods if name)
    rows = ", ".join(quoted(row.row) for row in record.rows) if len(record.rows) <= MOST_NAMED else len(record.rows)
    steps = " / ".join(dict.fromkeys(f"{step:.0f}" for step in _known(record, last_metric("step"))))
    training = "; ".join(f"{name} {text}" for name, text in main.items())
    sentences = (
        f"Task: {record.task}{_behind(', data fingerprint ', known[Tag.DATA_FINGERPRINT])}.",
        f"Method: {method}." if method else "",
        f"Rows: {rows}; baseline: {quoted(record.default)}.",
        f"Seeds: {', '.join(seeds)}.",
        f"Training: {training}." if training else "",
        f"Steps of a trial: {steps}." if steps else "",
        _scores(known, score_label(score)) if score else "",
        INTERVALS if score and len(seeds) > 1 and len(record.rows) > 1 else "",
        f"Trained {known[Tag.TIMED]}{_behind('; host ', known[Tag.HOST])}." if known[Tag.TIMED] else "",
        _versions(known),
        moment(record),
        f"Device hours: {hours}." if (hours := _device_hours(record)) else "",
    )
    return " ".join(filter(None, sentences))


def _scores(known: Mapping[str, str], score: str) -> str:
    details = [f"{name} {known[tag]}" for name, tag in SCORED_WITH.items() if known[tag]]
    return f"Score: {score} of the test images at the end of training{_behind('; ', ', '.join(details))}."


def _versions(known: Mapping[str, str]) -> str:
    found = [f"{name} {known[tag]}" for name, tag in VERSIONS.items() if known[tag]]
    return f"Versions: {', '.join(found)}." if found else ""


def _tags(record: SweepRecord) -> dict[str, str]:
    """Return the values of each tag among the finished trials, joined; '' if none has it."""
    tags = (Tag.DATA_FINGERPRINT, Tag.TIMED, Tag.HOST, *SCORED_WITH.values(), *VERSIONS.values())
    return {tag: " / ".join(dict.fromkeys(trial[tag] for trial in record.finished if trial[tag])) for tag in tags}


def _known(record: SweepRecord, metric: str) -> list[float]:
    """Return the finished trials' values of a recorded metric; nan is none."""
    found = (trial[metric] for trial in record.finished if metric in trial)
    return [value for value in found if value == value]


def _seconds(record: SweepRecord, cost: str) -> str:
    values = _known(record, cost_metric(cost))
    if not values:
        return ""
    return f"{statistics.median(values):.1f} s (median; {min(values):.1f} to {max(values):.1f} s)"


def _device_hours(record: SweepRecord) -> str:
    hours = _known(record, DEVICE_HOURS)
    return f"{sum(hours):.3g} ({_counted(len(hours), 'finished trial')})" if hours else ""


def _ended(record: SweepRecord) -> str:
    ended = [details.ended for details in record.details.values() if details.ended]
    return _date(max(ended)) if ended else ""


def _date(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _behind(words: str, text: str) -> str:
    return f"{words}{text}" if text else ""


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}{'s' * (count != 1)}"
