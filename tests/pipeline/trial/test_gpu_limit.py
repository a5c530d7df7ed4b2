"""A trial keeps to its share of a GPU. torch's functions for CUDA are replaced, so this needs no GPU."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from trial_jobs import job_of

from pipeline.config.schema import Config
from pipeline.hardware.allocation import CUDA_ALLOWANCE_GB
from pipeline.hardware.share import Share
from pipeline.trial import setup as module
from pipeline.trial.run import run_trial


class LimitSetError(Exception):
    """Ends the trial as soon as its memory is limited."""


@pytest.mark.parametrize(
    ("share", "limit_gb"),
    [(Share(1, 0.25, 20.0, 4), 20.0 - CUDA_ALLOWANCE_GB), (Share(1, 1.0, 40.0, 1), 40.0)],
    ids=["shared", "alone"],
)
def test_a_trial_is_limited_to_its_share_before_it_uses_the_gpu(
    project: Path, tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, share: Share, limit_gb: float
) -> None:
    def limit(fraction: float) -> None:
        raise LimitSetError(fraction)

    monkeypatch.setattr(module, "resolve_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=80_000_000_000))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", limit)
    with pytest.raises(LimitSetError) as caught:
        next(run_trial(replace(job_of(tiny()), share=share)))
    assert caught.value.args == (pytest.approx(limit_gb / 80),)
