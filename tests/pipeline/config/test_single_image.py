"""Which settings need one image for each domain, and which refuse it."""

import pytest

from pipeline.config.compose import compose_config
from pipeline.config.single_image.fit import PAIR_SCORES
from pipeline.config.single_image.settings import MAP_EXTRACTORS, PicturesConfig
from pipeline.errors import UserError
from pipeline.metrics.names import OF_PAIRS, main_metric


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model=sincut"], "model=sincut trains on one image for each domain; set task=single or task=pictures"),
        (["model=sincut", "task=horse2zebra"], "command line: model=sincut trains on one image for each domain"),
        (["metric.extractor=small-conv-map"], "small-conv-map compares two images; set task=single or task=pictures"),
        (["task=pictures", "metric.extractor=small-conv"], "small-conv compares sets of images; one image needs"),
        (["task=pictures", "metric.extractor=inception-v3-imagenet"], "needs metric.weights=FILE"),
        (["task=pictures", "metric.also=[edges,extrapolated]"], r"metric.also=\['extrapolated'\] compares sets"),
        (["task=pictures", "metric.segmentation=net.pt"], "metric.segmentation scores many photographs"),
        (["task=single", "data.root=s3://bucket/mine"], "is an address. Write a local path"),
    ],
)
def test_what_does_not_fit_one_image_is_refused_in_one_line(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said) as raised:
        compose_config(overrides)
    assert len(raised.value.faults) == 1


def test_metrics_of_pairs_are_those_that_are_allowed() -> None:
    assert sorted(PAIR_SCORES) == sorted(OF_PAIRS)
    assert compose_config(["task=pictures", f"metric.also=[{','.join(PAIR_SCORES)}]"]).metric.also == PAIR_SCORES


def test_only_torchvisions_inception_gives_sifid() -> None:
    assert [main_metric(extractor) for extractor in MAP_EXTRACTORS] == ["sifd_small_conv", "sifid"]


def test_the_embedded_task_has_750_steps_of_16_crops() -> None:
    config = compose_config(["task=pictures"])
    assert isinstance(config.data, PicturesConfig)
    assert config.data.crops_per_epoch // 16 * config.train.epochs == 750
    assert config.train.batch_size == 16
