"""Check whether this installation reproduces the published FID: the authors' networks must get the same scores here."""

from collections.abc import Mapping

from pipeline.metrics.names import AS_IN_THE_FILES, INCEPTION, PUBLISHED_WEIGHTS

# FID of the authors' own translations with the implementation of the paper, from clean-fid's README.
AUTHORS_FID = {
    "horse2zebra": {"CUT": 45.51, "FastCUT": 73.38, "CycleGAN": 77.20},
    "cat2dog": {"CUT": 76.21, "FastCUT": 93.95},
}
# How they were scored, under the names of an evaluation's provenance.
PROTOCOL = {
    "horse2zebra": {"images_a": "120", "images_b": "140"},
    "cat2dog": {"images_a": "500", "images_b": "500"},
}
COMMON_PROTOCOL = {
    "extractor": INCEPTION,
    "weights": PUBLISHED_WEIGHTS,
    "image_size": "256 x 256",
    "to_8_bits": "truncate",
}
# Implementations of one distance differ by tenths. Another filter, or images that were JPEGs, change it by points.
TOLERANCE = 1.0


def has_published_scores(task: str, extractor: str) -> bool:
    """Return whether the authors' networks have published scores on this task with this extractor."""
    return task in AUTHORS_FID and extractor == INCEPTION


def calibration(task: str, provenance: Mapping[str, str], fid: float) -> str:
    """Compare a score with those of the authors' networks, in a sentence; '' if they published none for the task."""
    if task not in AUTHORS_FID:
        return ""
    protocol = COMMON_PROTOCOL | PROTOCOL[task]
    differing = [
        f"{name} {provenance[name]} for {value}"
        for name, value in protocol.items()
        if provenance[name] not in (value, AS_IN_THE_FILES)
    ]
    if differing:
        return f"calibration: not by the published protocol ({', '.join(differing)}); not comparable to published FIDs"
    known = ", ".join(f"{expected} ({method})" for method, expected in AUTHORS_FID[task].items())
    near = [f"{method}'s" for method, expected in AUTHORS_FID[task].items() if abs(fid - expected) <= TOLERANCE]
    verdict = (
        "If it is theirs that was scored, this installation reproduces the published FID"
        if near
        else "If it is one of them that was scored, this installation does not reproduce the published FID, and its "
        "FIDs are not comparable to it"
    )
    found = f"{fid:.2f} is {near[0] if near else 'none of these'} within {TOLERANCE:g}"
    return f"calibration: the authors' own networks score {known}; {found}. {verdict}"
