from pipeline.metrics.calibration import AUTHORS_FID, COMMON_PROTOCOL, PROTOCOL, calibration

BY_THE_PROTOCOL = {**COMMON_PROTOCOL, **PROTOCOL["horse2zebra"]}


def test_the_authors_scores_are_recognised_and_whose_they_are() -> None:
    said = calibration("horse2zebra", BY_THE_PROTOCOL, 45.9)
    assert "45.51 (CUT)" in said
    assert "45.90 is CUT's within 1. If it is theirs that was scored, this installation reproduces" in said
    assert "is CycleGAN's" in calibration("horse2zebra", BY_THE_PROTOCOL, 77.2)


def test_other_scores_are_not_and_said_to_be_incomparable() -> None:
    said = calibration("horse2zebra", BY_THE_PROTOCOL, 51.0)
    assert "51.00 is none of these within 1" in said
    assert "does not reproduce" in said and "not comparable" in said


def test_no_verdict_without_the_protocol() -> None:
    for name, value in (
        ("weights", "12345678"),
        ("images_b", "50"),
        ("image_size", "128 x 128"),
        ("to_8_bits", "round"),
    ):
        said = calibration("horse2zebra", BY_THE_PROTOCOL | {name: value}, 45.51)
        assert f"not by the published protocol ({name} {value} for {BY_THE_PROTOCOL[name]})" in said
        assert "reproduces" not in said


def test_files_may_have_been_truncated_by_whoever_wrote_them() -> None:
    assert "reproduces" in calibration("horse2zebra", BY_THE_PROTOCOL | {"to_8_bits": "as in the files"}, 45.51)


def test_every_published_score_has_its_protocol() -> None:
    assert set(PROTOCOL) == set(AUTHORS_FID)


def test_nothing_is_said_of_tasks_without_published_networks() -> None:
    assert calibration("mine", {}, 45.51) == ""
