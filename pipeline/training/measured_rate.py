"""Measure how fast this machine computes a generator."""

import time
from dataclasses import replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from models.build import build_generator
from models.configs.images import ImageShape
from models.configs.networks import GeneratorConfig
from models.configs.sincut import StyleGeneratorConfig
from pipeline.hardware.device import resolve_device

# Measure at least this long, without the first pass, in which torch chooses kernels.
MEASURED_SECONDS = 1.0
# The paper's size. One pass over an image of 4096 x 4096 takes minutes and tens of gigabytes.
MEASURED_SIDE, MEASURED_BLOCKS = 256, 9


def measured_rate(
    config: GeneratorConfig | StyleGeneratorConfig, shape: ImageShape, device_kind: str, threads: int
) -> float:
    """Return this machine's operations per second on the generator, forward and backward.

    A deep generator is measured with fewer blocks, and on a part of a large image.
    """
    device = resolve_device(device_kind)
    if isinstance(config, GeneratorConfig):
        config = replace(config, blocks=min(config.blocks, MEASURED_BLOCKS))
    generator = build_generator(config, shape.channels_a, shape.channels_b).to(device)
    sides = min(shape.height, MEASURED_SIDE), min(shape.width, MEASURED_SIDE)
    image = torch.zeros(1, shape.channels_a, *sides, device=device)

    def run() -> None:
        generator(image)[0].sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with FlopCounterMode(display=False) as counter:
            run()
        started, passes = time.perf_counter(), 0
        while time.perf_counter() - started < MEASURED_SECONDS:
            run()
            passes += 1
        return passes * counter.get_total_flops() / (time.perf_counter() - started)
    finally:
        torch.set_num_threads(before)
