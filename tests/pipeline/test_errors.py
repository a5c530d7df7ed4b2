from pipeline.errors import first_line, nearest


def test_near_names_are_proposed() -> None:
    assert nearest("strips", ["stripes", "folder"]) == "did you mean stripes?"


def test_without_a_near_one_all_are_told() -> None:
    assert nearest("zzz", ["b", "a"]) == "known: a, b"


def test_a_long_list_is_told_by_its_groups() -> None:
    assert nearest("zzz", [f"{group}.f{n}" for group in "ab" for n in range(20)]) == "known: a.…, b.…"


def test_an_error_without_words_is_told_by_its_kind() -> None:
    assert first_line(EOFError()) == "EOFError"
    assert first_line(ValueError("first\nsecond")) == "first"
