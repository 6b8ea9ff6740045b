"""What a trained run says about each sample, as files for other programs. Target labels are among it where known."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from uda_core.evaluation import Evaluation, labels
from uda_core.run import Run
from uda_core.samples import chunks, read
from uda_core.task import Task

SPLITS = ("source_val", "target_test")


def export(run: Run, task: Task, evaluation: Evaluation, folder: Path) -> list[str]:
    """Write into `folder`, which is made; returns the names of the files.

    confusion.csv: counts on the target, a row per true class, a column per predicted class. per_class.csv: of each
    class how many samples or pixels there are, and the share predicted right or the IoU. Neither where the target's
    labels are not known. Where each sample has a label, also:
    source_val.npz, target_test.npz: `features` [N, D], `classes` [C], `predictions` [N], `probabilities` [N, C], where
    known `labels` [N], and `paths` [N] where samples are files. They are feature files, which a task can be made of.
    predictions.csv: the samples of both, one a line, by path or index.
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
    arrays = {} if task.pair.dense else {split: arrays_of(run, task, split) for split in SPLITS}
    for split, held in arrays.items():
        np.savez_compressed(folder / f"{split}.npz", **held)
    lines = [_lines(split, held) for split, held in arrays.items()]
    samples = {"predictions.csv": pd.concat(lines)} if lines else {}
    for name, table in (counts | samples).items():
        table.to_csv(folder / name, float_format="%.4f", lineterminator="\n")
    return [*counts, *(f"{split}.npz" for split in arrays), *samples]


def arrays_of(run: Run, task: Task, split: str) -> dict[str, np.ndarray]:
    """The arrays of one split. Probabilities are the softmax of the sum of the heads' logits."""
    samples, domain = getattr(task.pair, split), split.split("_")[0]
    f, z = [], []
    for part in read(samples.x, chunks(samples.x)):
        f.append(run.features(part, domain).cpu())
        z.append(sum(run.predict(part, domain)).cpu())
    p = torch.cat(z).softmax(1)
    arrays = {
        "features": torch.cat(f).numpy(),
        "classes": np.array(task.pair.classes),
        "predictions": p.argmax(1).numpy(),
        "probabilities": p.numpy(),
    }
    y = labels(task, split)
    if y is not None:
        arrays["labels"] = y.numpy()
    if hasattr(samples.x, "paths"):
        arrays["paths"] = np.array([str(path) for path in samples.x.paths])
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
