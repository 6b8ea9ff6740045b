"""Lesson 09's stand-in for the reader's two folders, targets whose kind of shift is known, and one call each for it.

Letters: N samples, C classes; x samples, y labels, None where there are none.
"""

import io
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import rotate

from uda_core import evaluation
from uda_core.data import load
from uda_core.data.image_folders import in_memory as in_memory
from uda_core.data.splits import every
from uda_core.errors import UserError
from uda_core.lab import diagnosis, main, results
from uda_core.methods import adabn
from uda_core.methods.classification import ClassificationRun
from uda_core.run import Run
from uda_core.samples import Labelled, Unlabelled
from uda_core.task import Pair

PRINTED = 1200  # digits of the default target
NUMBERS = "told apart", "counts", "entropy", "none of these"  # of `symptoms`, to guess among


@cache
def workplace() -> Path:
    """A folder of this kernel, for what the lesson writes."""
    return Path(tempfile.mkdtemp(prefix="own-domains-"))


def write_pair(home: Path | None = None) -> tuple[Path, Path]:
    """Write handwritten digits into home/pen and printed ones into home/print, a folder a class; both folders."""
    task, home = load("fonts-handwriting"), home or workplace()
    pen = task.pair.target_train.x, evaluation.labels(task, "target_train")
    printed = task.pair.source_train.x[:PRINTED], task.pair.source_train.y[:PRINTED]
    for name, (x, y) in {"pen": pen, "print": printed}.items():
        for digit in task.pair.classes:
            (home / name / digit).mkdir(parents=True, exist_ok=True)
        grey = (255 * x.squeeze(1)).round().byte().numpy()
        for i, (image, label) in enumerate(zip(grey, y.tolist(), strict=True)):
            Image.fromarray(image).save(home / name / str(label) / f"{i:04}.png")
    return home / "pen", home / "print"


def cases(x: Tensor, y: Tensor, classes: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Targets made of other source samples x [N, channels, H, W] and labels y [N]: what was done -> its x and y."""
    last, (a, b) = y == classes - 1, (0, classes // 2)
    fewer = (y < classes // 2) | every(10, y, "the held-out source")
    exchanged = torch.where(y == a, b, torch.where(y == b, a, y))
    return {
        "nothing": (x, y),
        "photocopied": (0.35 * x + 0.3, y),
        "fewer of some classes": (x[fewer], y[fewer]),
        "a class cut out": (x[~last], y[~last]),
        "turned by 20 degrees": (rotate(x, 20), y),
        "two meanings exchanged": (x, exchanged),
    }


def halves(samples: Labelled) -> tuple[Labelled, Labelled]:
    """Every other sample, and the others."""
    return tuple(Labelled(samples.x[i::2], samples.y[i::2]) for i in (0, 1))


def right(run: Run, x: Tensor, y: Tensor | None) -> str:
    """Accuracy in percent, as text; "not known" without labels."""
    return "not known" if y is None else f"{evaluation.accuracy(run, x, y):.1%}"


def diagnose(run: ClassificationRun, held: Tensor, targets: Mapping[str, tuple[Tensor, Tensor | None]]) -> pd.DataFrame:
    """Symptoms of each target beside `held` source samples, a line each, "nothing" among them; `right` needs labels."""
    found = {name: diagnosis.symptoms(run, held, x) for name, (x, _) in targets.items()}
    table = pd.DataFrame(found).T.round(2)
    table["speaks for"] = [diagnosis.verdict(symptoms, found["nothing"]) for symptoms in found.values()]
    table["right"] = [right(run, x, y) for x, y in targets.values()]
    table["right, AdaBN"] = [right(adabn(run, x), x, y) for x, y in targets.values()]
    return table


def gains(study: str, rows: Sequence[str]) -> pd.DataFrame:
    """Points that rows win over "source only" on each task of a results file, mean of the seeds; a line each.

    Beside them the mean accuracy, and the CPU seconds of a seed, all tasks together.
    """
    means = {row: pd.DataFrame(results.tasks(study, row)).mean() for row in ("source only", *rows)}
    table = pd.DataFrame({row: means[row] - means["source only"] for row in rows}).T
    held = results.load(study).query("measure == 'cpu_seconds'").groupby(["row", "seed"])["value"].sum()
    table["mean accuracy"] = [pd.Series(results.scores(study, row)).mean() for row in rows]
    table["CPU seconds"] = held.groupby("row").mean()[list(rows)]
    return table


def shares(run: ClassificationRun, val: Labelled, x_t: Tensor) -> Tensor:
    """Estimated shares of the classes in the target, in percent, [C]: `bbse` from held-out source samples `val`."""
    classes = len(run.pair.classes)
    counts = torch.from_numpy(evaluation.confusion_counts(val.y, evaluation.predicted(run, val.x, "source"), classes))
    found = diagnosis.bbse(counts, evaluation.predicted(run, x_t).bincount(minlength=classes)) * counts.sum(1)
    return 100 * found / found.sum()


def with_target(pair: Pair, x: Tensor) -> Pair:
    """The pair with other target samples to train on."""
    return replace(pair, target_train=Unlabelled(x))


def compare(
    run: ClassificationRun, val: Labelled, x_t: Tensor, y_t: Tensor | None, methods: str, seeds: str
) -> Markdown:
    """The report of `uda compare` with these methods and seeds, on the run's features of held-out source and target.

    Raises:
        UserError: if it stops.
    """
    home, files = Path(tempfile.mkdtemp(dir=workplace())), []
    for name, x, y in (("source", val.x, val.y), ("target", x_t, y_t)):
        files.append(str(home / f"{name}.npz"))
        labels = {} if y is None else {"labels": y.numpy()}
        np.savez(files[-1], features=run.features(x).numpy(), classes=np.array(run.pair.classes), **labels)
    words = ["compare", *files, "--methods", methods, "--seeds", seeds, "--out", str(home / "which")]
    with redirect_stdout(None), redirect_stderr(io.StringIO()) as said:  # the report holds it
        status = main.main(words)
    if status:
        raise UserError(f"uda compare: {said.getvalue().splitlines()[-1]}")
    return Markdown((home / "which" / "report.md").read_text(encoding="utf-8").replace("# ", "### ", 1))
