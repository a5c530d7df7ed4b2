"""Check what a sweep needs from outside: the MLflow store, the weights of Inception, a Ray cluster."""

import urllib.request
from pathlib import Path

from pipeline.checks.check import Check, within
from pipeline.checks.probe import PROBE_SECONDS
from pipeline.checks.ray_address import check_ray
from pipeline.config.compute import cluster_setting
from pipeline.config.schema import Config, MetricConfig
from pipeline.errors import UserError, first_line
from pipeline.files import file_digest
from pipeline.metrics.names import EFFICIENTNET, INCEPTION_IMAGENET, PUBLISHED_WEIGHTS, has_weights

# Importing MLflow takes seconds on a busy machine.
STORE_SECONDS = 30.0
WEIGHTS_SECONDS = 20.0
WEIGHTS, IMAGENET_WEIGHTS = "Inception's weights", "weights of torchvision's Inception"


def service_checks(uri: str, config: Config) -> list[Check]:
    """Check the store at uri, the weights, and the Ray cluster if one is set."""
    setting = cluster_setting(config.compute)
    checks = [
        within(STORE_SECONDS, "tracking store", lambda: check_tracking(uri)),
        within(WEIGHTS_SECONDS, WEIGHTS, lambda: check_weights(config.metric)),
    ]
    return [*checks, check_ray(setting)] if setting else checks


def check_tracking(uri: str) -> Check:
    """Check that the store answers and has the right schema."""
    from pipeline.checks.store import check_store  # MLflow, which takes seconds

    return check_store(uri)


def check_weights(metric: MetricConfig) -> Check:
    """Check that the extractor's weights are here and complete, or can be downloaded."""
    if metric.extractor == EFFICIENTNET:
        return _check_efficientnet()
    if metric.extractor == INCEPTION_IMAGENET:
        return _check_imagenet(metric)
    from pipeline.metrics.extractors import URL_INCEPTION_V3, inception_weights  # torch-fidelity, which takes a second

    try:
        path = inception_weights(metric.weights)
    except UserError as error:
        return Check(WEIGHTS, "fault", str(error))
    if path.exists():
        return _check_hash(path, URL_INCEPTION_V3)
    if not has_weights(metric.extractor):
        return Check(WEIGHTS, "note", f"{path} is missing; this task does not need it")
    try:
        # Only the header of the file.
        request = urllib.request.Request(URL_INCEPTION_V3, method="HEAD")  # noqa: S310 (a constant address)
        urllib.request.urlopen(request, timeout=PROBE_SECONDS).close()  # noqa: S310
    except OSError as error:  # the base class of urllib's errors
        found = f"{path} is missing, and {URL_INCEPTION_V3} cannot be reached ({first_line(error)})"
        advice = (
            "Download the file on another machine and copy it there, or set metric.weights to its path. Without it, "
            f"score with a network that needs no download: metric.extractor={EFFICIENTNET}"
        )
        return Check(WEIGHTS, "fault", found, advice)
    return Check(WEIGHTS, "note", f"{path} is missing; the first evaluation downloads it (95 MB)")


def _check_efficientnet() -> Check:
    from pipeline.metrics.extra.efficientnet import SHA256, weights_file  # torch, which takes a second

    try:
        return Check("EfficientNet's weights", "ok", f"{weights_file()}, SHA-256 {SHA256[:8]}…")
    except UserError as error:
        return Check("EfficientNet's weights", "fault", str(error))


def _check_imagenet(metric: MetricConfig) -> Check:
    from pipeline.metrics.extractors import load_extractor, weights_fingerprint  # torch, which takes a second

    try:
        load_extractor(metric.extractor, metric.weights)
        digits = weights_fingerprint(metric.extractor, metric.weights)
        return Check(IMAGENET_WEIGHTS, "ok", f"{metric.weights}, SHA-256 {digits}…")
    except UserError as error:
        return Check(IMAGENET_WEIGHTS, "fault", str(error))


def _check_hash(path: Path, url: str) -> Check:
    found = file_digest(path)[:8]
    if found == PUBLISHED_WEIGHTS:
        return Check(WEIGHTS, "ok", f"{path}, SHA-256 {found}…")
    if path.name.endswith(f"-{PUBLISHED_WEIGHTS}.pth"):
        named = f"its SHA-256 begins with {found}, but its name says {PUBLISHED_WEIGHTS}"
        return Check(WEIGHTS, "fault", f"{path} is damaged: {named}", f"Delete it and download it again: {url}")
    other = f"{path} is not the published file: its SHA-256 begins with {found}, not {PUBLISHED_WEIGHTS}"
    return Check(WEIGHTS, "note", other, "Its FID is not comparable to published FIDs")
