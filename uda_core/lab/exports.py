"""What a trained run says about each sample, as files for other programs. Target labels are among it where known."""

from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from uda_core.evaluation import Evaluation, labels
from uda_core.lab.scoring import Kept
from uda_core.task import Task

# A cell that begins so, a spreadsheet may compute; the apostrophe itself is here so that it can be taken away again.
FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20'")


def export(task: Task, evaluation: Evaluation, kept: Kept, folder: Path) -> list[str]:
    """Write into `folder`, which is made; returns the names of the files. `scoring.evaluate` gives scores and `kept`.

    confusion.csv: counts on the target, a row per true class, a column per predicted class. per_class.csv: of each
    class how many samples or pixels there are, and the share predicted right or the IoU. Neither where the target's
    labels are not known. Where each sample has a label, also:
    source_val.npz, target_test.npz: `features` [N, D], `classes` [C], `predictions` [N], `probabilities` [N, C], where
    known `labels` [N], and `paths` [N] where samples are files, or features of files. They are feature files, which a
    task can be made of.
    predictions.csv: the samples of both, one a line, by path or index.

    In the tables, a class or path that a spreadsheet would take for a formula has an apostrophe before it, as has one
    that begins with an apostrophe: a program that strips one from each text has the names of the .npz files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    classes, counts = task.pair.classes, {}
    if evaluation.score is not None:
        row_names = pd.Index(classes, name="true \\ predicted")
        counts["confusion.csv"] = pd.DataFrame(evaluation.confusion, row_names, classes)
        share = "iou" if evaluation.metric == "miou" else "accuracy"
        counted = "pixels" if task.pair.dense else "samples"
        columns = {counted: evaluation.confusion.sum(1), share: list(evaluation.per_class.values())}
        counts["per_class.csv"] = pd.DataFrame(columns, pd.Index(classes, name="class"))
    arrays = {split: arrays_of(task, split, *outputs) for split, outputs in kept.items()}
    for split, held in arrays.items():
        np.savez_compressed(folder / f"{split}.npz", **held)
    lines = [_lines(split, held) for split, held in arrays.items()]
    samples = {"predictions.csv": pd.concat(lines)} if lines else {}
    for name, table in (counts | samples).items():
        table = table.apply(lambda column: column.map(_quoted)).rename(index=_quoted, columns=_quoted)
        table.to_csv(folder / name, float_format="%.4f", lineterminator="\n")
    return [*counts, *(f"{split}.npz" for split in arrays), *samples]


def arrays_of(task: Task, split: str, f: Tensor, z: Tensor) -> dict[str, np.ndarray]:
    """The arrays of a split with features f [N, D] and logits z [N, C], the sum of the heads'.

    Probabilities are the softmax of z.
    """
    arrays = {
        "features": f.numpy(),
        "classes": np.array(task.pair.classes),
        "predictions": z.argmax(1).numpy(),
        "probabilities": z.softmax(1).numpy(),
    }
    y = labels(task, split)
    if y is not None:
        arrays["labels"] = y.numpy()
    if paths := task.paths.get(split) or getattr(getattr(task.pair, split).x, "paths", ()):
        arrays["paths"] = np.array([str(path) for path in paths])
    return arrays


def _lines(split: str, arrays: dict[str, np.ndarray]) -> pd.DataFrame:
    """A line a sample, under the name of its split."""
    classes, predictions = arrays["classes"], arrays["predictions"]
    columns = {
        "sample": arrays.get("paths", range(len(predictions))),
        "label": classes[arrays["labels"]] if "labels" in arrays else "",
        "prediction": classes[predictions],
        "probability": arrays["probabilities"].max(1),
    }
    return pd.DataFrame(columns, pd.Index([split] * len(predictions), name="split"))


def _quoted(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell
