"""The paper's order beside ours."""

from sample_records import NO_PAPER, finished, make

from analysis.statistics.estimates import values_of
from analysis.statistics.paper_values import load_paper
from analysis.tables.paper_order import paper_sentences

PAPERS = {"internal": "Fig. 4: CUT (default)", "external": "Fig. 4: ext only", "both": "Fig. 4: int and ext"}
EQUAL = (50.0, 60.0, 70.0)


def told(papers: dict[str, str] = PAPERS, **fids: tuple[float, ...]) -> tuple[str, ...]:
    """The sentences on rows with these FIDs by seed."""
    runs = [finished(row, seed, last__fid=fid) for row, of_row in fids.items() for seed, fid in enumerate(of_row)]
    record = make(runs, papers=papers)
    return tuple(paper_sentences(record, values_of(record), load_paper()))


def test_the_papers_fids_stand_in_their_order_with_their_data_set() -> None:
    first, _ = told(both=EQUAL, internal=EQUAL, external=EQUAL)
    assert first == "FID in the paper (horse2zebra): “internal” 45.5, “external” 53.0, “both” 56.4."


def test_a_row_that_is_told_apart_stands_beside_its_fid_in_the_paper() -> None:
    _, here = told(internal=EQUAL, external=(80.0, 90.1, 100.0), both=(20.0, 30.1, 40.0))
    assert here == (
        "Here, compared with “internal”: “external” is worse in FID (there its FID is higher); "
        "“both” is better in FID (there its FID is higher)."
    )


def test_rows_that_are_not_told_apart_or_not_compared_say_so() -> None:
    _, here = told(internal=EQUAL, external=(50.0, 61.0, 69.0), both=(20.0,))
    assert here == "Here, compared with “internal”: “external” is not told apart; “both” is not compared."
    _, here = told(internal=EQUAL, external=EQUAL, both=EQUAL)
    assert here == "Here, compared with “internal”: “external” and “both” are not told apart."


def test_scores_that_contradict_each_other_are_both_named() -> None:
    runs = [
        finished(
            row, seed, last__fid=10.0 + seed + 1.1**seed * shift, last__object_iou=0.5 + (seed / 10 + 1) * shift / 100
        )
        for row, shift in (("internal", 0.0), ("external", 20.0))
        for seed in range(3)
    ]
    record = make(runs, papers=PAPERS)
    _, here = paper_sentences(record, values_of(record), load_paper())
    assert here.endswith("“external” is better in overlap (IoU) and worse in FID (there its FID is higher).")


def test_nothing_is_said_where_the_paper_lacks_the_default_row_or_all_others() -> None:
    scores = {"internal": EQUAL, "external": EQUAL}
    assert (
        told({"internal": "Fig. 4: CUT (default)"}, **scores) == told({"external": "Fig. 4: ext only"}, **scores) == ()
    )
    record = make([finished(row, 0, last__fid=1.0) for row in "ab"])
    assert paper_sentences(record, values_of(record), NO_PAPER) == []
