import numpy as np

from pipeline.data.stripes import draw_pictures


def test_same_seed_draws_the_same_pictures_and_more_begin_with_fewer() -> None:
    many, few = draw_pictures(5, (32, 32), 3, striped=True), draw_pictures(2, (32, 32), 3, striped=True)
    assert np.array_equal(many.images[:2], few.images)
    assert not np.array_equal(draw_pictures(2, (32, 32), 4, striped=True).images, few.images)


def test_domains_share_the_ground_and_differ_in_the_blobs() -> None:
    brown, striped = (draw_pictures(64, (64, 64), 0, striped=striped) for striped in (False, True))
    ground = [pictures.images[pictures.ground].mean(0) for pictures in (brown, striped)]
    blobs = [pictures.images[pictures.blobs] for pictures in (brown, striped)]
    np.testing.assert_allclose(ground[0], ground[1], atol=3)
    assert (blobs[1].std(0) > 3 * blobs[0].std(0)).all()


def test_every_picture_has_ground_and_blob() -> None:
    share = draw_pictures(64, (64, 64), 0, striped=False).blobs.mean((1, 2))
    assert share.min() > 0.03
    assert share.max() < 0.6
