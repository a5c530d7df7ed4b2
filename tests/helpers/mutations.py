"""Damage to files, as Hypothesis strategies: bytes changed, cut out, put in, repeated, cut off."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# The same examples in every run. Files are written, so an example's time depends on the disk.
FEW = settings(max_examples=100, derandomize=True, deadline=None, database=None)
# Other examples in every run; Hypothesis prints the one that fails.
MANY = settings(
    max_examples=1000, deadline=None, database=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)

_EDITS = st.tuples(
    st.sampled_from(["set", "cut", "put", "repeat", "end"]), st.integers(0, 1 << 16), st.binary(max_size=8)
)


@st.composite
def damaged(draw: st.DrawFn, whole: list[bytes]) -> bytes:
    """One of the files with up to four edits, at any place or near the start, where headers are."""
    content = draw(st.sampled_from(whole))
    near_start = draw(st.booleans())
    for kind, place, piece in draw(st.lists(_EDITS, min_size=1, max_size=4)):
        at = place % max(1, min(len(content), 200 if near_start else len(content)))
        match kind:
            case "set":
                content = content[:at] + piece + content[at + len(piece) :]
            case "cut":
                content = content[:at] + content[at + 1 + len(piece) :]
            case "put":
                content = content[:at] + piece + content[at:]
            case "repeat":
                content = content[:at] + content[at : at + 64] + content[at:]
            case _:
                content = content[:at]
    return content
