"""Accuracy over seeds: the ablation tables of the lessons and the README.

Every row is a method with settings; the settings were chosen on `fonts-distorted`, whose target labels are ours, and frozen
before the first measurement on `fonts-handwriting`.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from tqdm import tqdm

from uda_core import methods, validators
from uda_core.data.catalog import TASKS, load
from uda_core.data.digits import fonts_handwriting
from uda_core.data.task import Task
from uda_core.evaluation import evaluate
from uda_core.methods.cgdm import CGDMSettings

NOTE = (
    "Accuracy in percent on the handwriting, which is also the unlabelled training set (transductive); data seed 0, the "
    "seeds are those of the training; last step, no choice by target labels. Apart from the first two rows, source and "
    "target share each batch and its statistics."
)
ENTROPY = CGDMSettings().entropy


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    method: str
    settings: dict = field(default_factory=dict)
    variant: str = "code"
    target_statistics: bool = False


ROWS = {
    "source only": Row("source_only"),
    "source only, target batch-norm statistics": Row("source_only", target_statistics=True),
    "source + entropy term": Row("source_only", {"entropy": ENTROPY}),
    "MCD": Row("mcd"),
    "MCD + entropy term": Row("cgdm", {"alpha": 0.0, "beta": 0.0}),
    "SWD": Row("swd"),
    "MCD + entropy term + pseudo-labels": Row("cgdm", {"beta": 0.0}),
    "CGDM (code)": Row("cgdm"),
    "CGDM (paper)": Row("cgdm", variant="paper"),
}
IMBALANCED_DROP = dict.fromkeys(range(5), 0.9)  # the target keeps a tenth of its digits 0 to 4
IMBALANCED_ROWS = {
    "source only": Row("source_only"),
    "CGDM (code)": Row("cgdm"),
    "CGDM (code) without the entropy term": Row("cgdm", {"entropy": 0.0}),
}
TABLES = {
    "fonts-handwriting": (lambda: load("fonts-handwriting"), ROWS, NOTE),
    "imbalanced": (
        lambda: fonts_handwriting(drop=IMBALANCED_DROP),
        IMBALANCED_ROWS,
        f"{NOTE} The target keeps a tenth of its digits 0 to 4.",
    ),
}


def main(seeds: Sequence[int], out: Path, table: str = "fonts-handwriting") -> None:
    """Measure what `out` does not hold yet, row by row and seed by seed; each result is written at once."""
    make_task, rows, note = TABLES[table]
    task, steps = make_task(), TASKS["fonts-handwriting"].steps
    command = f"python -m uda_core bench accuracy --table {table} --seeds {seeds[0]}-{seeds[-1]}"
    results = json.loads(out.read_text()) if out.exists() else {"rows": {}}
    results |= {"command": command, "note": note, "steps": steps, "torch": torch.__version__.split("+")[0]}
    torch.set_num_threads(1)
    for seed, (name, row) in tqdm([(seed, item) for seed in seeds for item in rows.items()], unit="run"):
        entry = results["rows"].setdefault(name, asdict(row) | {"seeds": {}})
        if str(seed) not in entry["seeds"]:
            entry["seeds"][str(seed)] = measure(task, row, seed, steps)
            out.write_text(json.dumps(results, indent=1) + "\n")


def measure(task: Task, row: Row, seed: int, steps: int) -> dict:
    """Train one row on one seed; its scores, its commonest mistakes, and the numbers that need no target label."""
    config = methods.Config(seed=seed, variant=row.variant)
    run = methods.METHODS[row.method](task.pair, config, **row.settings)
    for _ in range(steps):
        record = run.step()
    if row.target_statistics:
        run = methods.with_target_statistics(run)
    result = evaluate(run, task)
    wrong = torch.tensor(result.confusion).fill_diagonal_(0)
    return {
        "score": round(result.score, 4),
        "source_score": round(result.source_score, 4),
        "per_class": {name: None if share is None else round(share, 3) for name, share in result.per_class.items()},
        "mistakes": [
            {"true": task.pair.classes[i // len(wrong)], "taken_for": task.pair.classes[i % len(wrong)], "samples": n}
            for n, i in zip(*(top.tolist() for top in wrong.flatten().topk(3)), strict=True)
        ],
        "label_free": label_free(run, task) | {name: round(value, 4) for name, value in record.losses.items()},
    }


def label_free(run: methods.Run, task: Task) -> dict[str, float]:
    """What one can know of a finished run without a target label."""
    x_s, x_t = task.pair.source_train.x, task.pair.target_train.x
    z, f_s, f_t = run.predict(x_t), run.features(x_s), run.features(x_t)
    cosines = validators.class_gradient_cosines(run)
    numbers = {
        "head agreement": validators.head_agreement(*z),
        "target entropy": validators.mean_entropy(*z),
        "domain accuracy": validators.domain_accuracy(f_s, f_t).value,
        "neighbour mixing": validators.neighbour_mixing(f_s, f_t).value,
        "lowest class cosine": cosines[cosines.isfinite()].min().item(),
        "rarest predicted class": sum(z).argmax(1).bincount(minlength=z[0].shape[1]).min().item() / len(x_t),
    }
    return {name: round(value, 4) for name, value in numbers.items()}
