"""Reports for the page, made up: a small one, a large one, and one whose every text is hard to show."""

from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.figures.image_grid import Progress, Qualitative
from analysis.report.page import FigureView, Report, TrialLine
from analysis.tables.table import SOURCE_ROW

HARD = r"""</script><b>&amp;"x" 'y' \ | _a_ % {{ z }} `"""

NAMES = ("internal", "external", "internal and external")
MANY = (
    "patchnce, internal negatives (the default)",
    "external negatives from the memory bank",
    "internal and external",
    "no identity loss",
    "temperature=0.31",
    "features=pixels+down1+down2+res1+res5",
    "FastCUT",
    "CycleGAN, cycle_weight=10",
)
COLUMNS = {
    "FID, last ↓": 64.2,
    "FID, best ↓": 61.9,
    "FD (small-conv), last ↓": 12.31,
    "FD (small-conv), best ↓": 11.84,
    "best epoch": 180,
    "KID, last ↓": 0.0213,
    "precision, last ↑": 0.612,
    "recall, last ↑": 0.481,
    "LPIPS to the input, last ↓": 0.274,
    "seconds per iteration ↓": 0.183,
    "peak memory, GB ↓": 2.417,
    "paper's FID on horse2zebra (other data)": 45.5,
}


def sample_report(rows: tuple[str, ...] = NAMES, images: int = 4, size: int = 64, columns: int = 5) -> Report:
    """Return the report of a sweep on stripes with three seeds per row."""
    return Report(
        sweep="ablation_negatives",
        task="stripes",
        question="Does it matter which patches a patch is told apart from: those of its own image, or of others?",
        moment="9 trials: 9 done. The last ended 2026-01-31 12:30 UTC.",
        summary=(
            f"Better than {rows[0]} in FD (small-conv): {rows[-1]} −2.1 (95 % CI −3.4 to −0.8, 3 seeds).",
            "The other rows show no clear difference.",
        ),
        table=sample_table(rows, columns),
        caption="Cells: mean ± standard deviation over n seeds. Last: at the end of training. Best: best evaluation. "
        "FID is biased upwards: 120 and 140 images are fewer than its 2048 dimensions. Compare KID, which is unbiased.",
        notes=(f"{rows[-1]}, seed 2 failed: RuntimeError: the loss is not finite",),
        figures=(
            sample_figure("scores", "Scores by row", 432, 288),
            sample_figure("course", "Course of the score", 432, 288),
            sample_figure("cost", "Score against cost", 624, 320),
        ),
        qualitative=sample_images(rows, images, size),
        progress=sample_progress(rows, images, size),
        how_made="Task: stripes. Seeds: 0, 1, 2. Training: learning rate 0.0002; batch size 1.",
        main=(("learning rate", "0.0002"), ("crop", "random crops of 256 x 256 from 286 x 286")),
        settings=(("model.method", "cut"), ("train.constant_epochs", "100")),
        differing=(("row", "model.negatives", "model.places"), *((row, row, "pixels, down1, res5") for row in rows)),
        times=(("device hours", "1.5 (9 finished trials)"),),
        provenance=(
            ("commit", "3f9c2ab41d7e5f60918273645546372819aabbcc"),
            ("device", "NVIDIA A100-SXM4-80GB"),
            ("data fingerprint", "b7e23ec29af22b0b4e41da31e868d57226121c84f2a8c5f1e9d0a3b6c7d8e9f0"),
        ),
        trials=tuple(
            TrialLine(row, seed, "done", f"{97 * at + seed:012x}", f"https://mlflow.example/#/runs/{at}{seed}")
            for at, row in enumerate(rows)
            for seed in range(3)
        ),
        commands=(
            ("Train what is missing", "just sweep ablation_negatives data=stripes"),
            ("Make this page again", "just report ablation_negatives"),
        ),
    )


def large_report() -> Report:
    """Eight rows with long names, and two more that have no images; twelve columns, many settings, and 24 trials of
    which two are not done."""
    report = sample_report(MANY, images=8, columns=12)
    trials = list(report.trials)
    trials[5] = replace(trials[5], state="failed: RuntimeError: CUDA out of memory; tried to allocate 2.00 GiB")
    trials[9] = replace(trials[9], state="missing", url="")
    settings = (*report.settings, *((row, f"model.{row} = {at}") for at in range(2) for row in MANY))
    assert report.qualitative is not None
    left_out = replace(report.qualitative, left_out=2)
    return replace(report, trials=tuple(trials), settings=settings, qualitative=left_out)


def hard_report() -> Report:
    """Every text has characters with a meaning in HTML, attributes or scripts."""
    report = sample_report((HARD, f"{HARD}2"))
    pairs = ((f"{HARD} name", f"{HARD} value"),)
    return replace(
        report,
        sweep=f"{HARD} sweep",
        task=f"{HARD} task",
        question=f"{HARD} question",
        summary=(f"{HARD} paragraph",),
        caption=f"{HARD} caption",
        notes=(f"{HARD} note",),
        figures=tuple(
            replace(figure, title=f"{HARD} title", caption=f"{HARD} caption", alt=f"{HARD} alt")
            for figure in report.figures
        ),
        moment=f"{HARD} moment",
        how_made=f"{HARD} method",
        main=pairs,
        settings=pairs,
        differing=(("row", f"{HARD} field"), (f"{HARD} row", f"{HARD} value")),
        times=pairs,
        provenance=pairs,
        trials=(TrialLine(f"{HARD} row", 0, f"failed: {HARD}", f"{HARD} key", "https://mlflow.example/?a=1&b='\""),),
        commands=((f"{HARD} purpose", f"{HARD} command"),),
    )


def bare_report() -> Report:
    """Return the report of a sweep without a finished trial."""
    empty = replace(sample_report(), summary=(), caption="", notes=(), figures=(), qualitative=None)
    empty = replace(empty, question="", moment="", progress=None, how_made="", main=(), differing=(), times=())
    return replace(empty, settings=(), provenance=(), trials=(), commands=())


def sample_table(rows: tuple[str, ...], columns: int) -> str:
    shown = list(COLUMNS.items())[-columns:]
    cells = {
        title: ["–", *(f"{value * (1 + at / 40):.3g} ± {value / 30:.2g} (n = 3)" for at in range(len(rows)))]
        for title, value in shown
    }
    cells[shown[-1][0]] = ["–", "45.5", *["–" for _ in rows[1:]]]
    frame = pd.DataFrame(cells, index=pd.Index([SOURCE_ROW, *rows]))
    other = pd.DataFrame("", frame.index, frame.columns)
    other[shown[-1][0]] = "grey"
    styled = frame.style.set_td_classes(other)
    styled.format(escape="html").format_index(escape="html").format_index(escape="html", axis=1)
    return styled.to_html(table_uuid="table", cell_ids=False)


def sample_images(rows: tuple[str, ...], count: int, size: int) -> Qualitative:
    """Stripes of A are horizontal, those of B vertical. All images differ."""

    def stripes(turned: float, number: int, red: int) -> np.ndarray:
        y, x = np.mgrid[:size, :size] * (64 / size)
        wave = np.sin((x * turned + y * (1 - turned)) / (1.5 + number % 3) + number)
        light = np.clip(118 + 90 * wave, 0, 255)
        return np.stack([light * red / 255, light * 0.8, light * (1 - number / 40)], -1).astype(np.uint8)

    outputs = {row: tuple(stripes(0.8, i, 255 - 15 * at) for i in range(count)) for at, row in enumerate(rows)}
    inputs = tuple(stripes(0, i, 150) for i in range(count))
    neighbours = tuple(stripes(1, i, 251) for i in range(count))
    return Qualitative(0, next(iter(outputs)), inputs, outputs, neighbours, left_out=0)


def sample_progress(rows: tuple[str, ...], number: int, size: int) -> Progress:
    """Return three translations of each row that are among no first `number` sample images; one row lacks one."""
    more = sample_images(rows, number + 4, size)
    outputs: dict[str, tuple[np.ndarray | None, ...]] = {
        row: images[number + 1 :] for row, images in more.outputs.items()
    }
    outputs[rows[-1]] = (None, *outputs[rows[-1]][1:])
    return Progress(0, more.inputs[number], "epoch", (1.0, 2.5, 4.0), outputs)


def sample_figure(name: str, title: str, width: int, height: int) -> FigureView:
    return FigureView(
        name,
        title,
        "Mean over the seeds that are done, each seed as a dot. Lower is better.",
        f"{title}: the last row lies lowest.",
        _svg(width, height, "#1b1f23", "#0b6070"),
        _svg(width, height, "#e3e6e8", "#76c5d2"),
        width,
        height,
    )


def _svg(width: int, height: int, ink: str, mark: str) -> bytes:
    dots = "".join(
        f'<circle cx="{60 + (width - 90) * at / 11:.0f}" cy="{height - 70 - (at * 37) % (height - 130)}" r="4"/>'
        for at in range(12)
    )
    size = f'width="{width * 0.75}pt" height="{height * 0.75}pt" viewBox="0 0 {width} {height}"'
    return f"""<?xml version="1.0" encoding="utf-8"?>
<svg xmlns="http://www.w3.org/2000/svg" {size}>
<style type="text/css">text {{ font: 12px sans-serif }}</style>
<path d="M50 20V{height - 45}H{width - 15}" fill="none" stroke="{ink}"/>
<g fill="{mark}">{dots}</g>
<text x="{width / 2}" y="{height - 15}" text-anchor="middle" fill="{ink}" style="font-style: italic">epoch</text>
<text x="16" y="{height / 2}" fill="{ink}" transform="rotate(-90 16 {height / 2})">score</text>
</svg>
""".encode()
