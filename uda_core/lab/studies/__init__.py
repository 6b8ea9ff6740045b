"""What `uda bench accuracy` measures: studies, one TOML file each, whose rows are a recipe with some values changed.

    task = "streets"          by name, or one of `LOADERS`
    only = ["A->D"]           of several tasks; may be left out: all
    note = "..."              what stands below the table
    details = true            also the commonest mistakes and what needs no target label; may be left out
    [rows]                    name = what `Arm` takes
    [factorial]               or, in place of rows or before them, every combination of terms; see `cells`

On a CPU, in one thread; `STUDIES["streets"].rows["CAG"].start(task.pair)` makes the run of a row.
"""

import math
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import reduce
from itertools import permutations, product
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from uda_core import methods
from uda_core.data import feature_files, load
from uda_core.data.blobs import blobs
from uda_core.data.digits import fonts_handwriting
from uda_core.data.sets import data_folder
from uda_core.errors import UserError, choose
from uda_core.evaluation import METRICS, Evaluation, evaluate, label_qualities, supervised
from uda_core.files import write_whole
from uda_core.lab import domain_gap, recipe, results, validators
from uda_core.lab.recipe import Recipe
from uda_core.lab.studies import gradient_labels
from uda_core.lab.studies.traces import Trace
from uda_core.run import Run
from uda_core.task import Pair, Task

TARGET_EPOCH = "target epoch"  # in place of a number of steps: once through the target
IMBALANCED_DROP = dict.fromkeys(range(5, 10), 0.9)  # the target keeps a tenth of its digits 5 to 9
Number = tuple[str, str, str, float]  # phase, measure, class (empty: all), value


@dataclass(frozen=True)
class Arm:
    """A row of a study: a recipe with some values changed, and how the run is scored."""

    recipe: str
    config: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None  # None: as many as the recipe has
    adabn: bool = False  # scored after AdaBN: at the end, or after the source phase of CAG beside without
    supervised: bool = False  # the ceiling: trained on the labelled target
    gradient_labels: str = ""  # inside CGDM's L_gd alone: as they are, or one of `gradient_labels.CHANGES`

    def __post_init__(self) -> None:
        if self.gradient_labels:
            choose("gradient_labels", self.gradient_labels, gradient_labels.CHANGES)

    def changed(self) -> Recipe:
        """The recipe with the changes, except for what counts in epochs of the target."""
        settings = {name: value for name, value in self.settings.items() if value != TARGET_EPOCH}
        return recipe.load(self.recipe).changed(self.config, settings, self.steps)

    def start(self, pair: Pair, **config: Any) -> Run:
        """A run of this row on the pair, at step 0; `config` holds its seed, or other changes.

        Raises:
            UserError: for a value that is refused, or a pair that does not suit the method.
        """
        run = self.changed().start(pair, **config)
        for name, value in self.settings.items():
            if value == TARGET_EPOCH:
                setattr(run.settings, name, len(pair.target_train) // run.config.batch_size)
        if self.gradient_labels:
            gradient_labels.change_(run, self.gradient_labels)
        return run

    def describe(self) -> dict[str, str]:
        """Every value that the row is measured with, as text."""
        made = self.changed()
        values = {"method": made.method, "adabn": self.adabn, "supervised": self.supervised, "steps": made.steps}
        values |= {**made.config, **made.settings, **self.settings}
        values["gradient_labels"] = self.gradient_labels or None
        as_text = {name: ",".join(map(str, v)) if isinstance(v, tuple) else str(v) for name, v in values.items()}
        return {name: text for name, text in as_text.items() if text != "None"}

    def measure(self, task: Task, seed: int, details: bool = False, trace: Trace | None = None) -> list[Number]:
        """Train with one seed; every number that it reaches, at each of its milestones or at the end.

        What the run predicts on the way goes into `trace`.
        """
        if self.supervised:
            task = replace(task, pair=supervised(task))
        run, numbers, seconds = self.start(task.pair, seed=seed), list[Number](), 0.0
        length = self.changed().length(run)
        for _ in range(length):
            started = time.process_time()
            record = run.step()
            seconds += time.process_time() - started
            if trace:
                trace.look(run, last=run.steps == length)
            if run.milestone:
                numbers += scores(run, task, run.milestone, evaluate(run, task))
            if run.milestone == "source" and self.adabn:
                adapted = methods.adabn(run)
                numbers += scores(adapted, task, "adabn", evaluate(adapted, task))
        if not numbers:
            run = methods.adabn(run) if self.adabn else run
            result = evaluate(run, task)
            numbers += scores(run, task, "end", result)
            if details:
                numbers += commonest_mistakes(result)
                numbers += [("end", name, "", value) for name, value in (label_free(run) | record.losses).items()]
        return [*numbers, ("end", "cpu_seconds", "", seconds)]


@dataclass(frozen=True)
class Study:
    """A table: rows to measure seed by seed, on one task or on several."""

    task: str
    note: str
    rows: Mapping[str, Arm]
    details: bool = False
    only: Sequence[str] = ()  # of several tasks; empty: all

    def tasks(self, data: Path | None) -> dict[str, Task]:
        """What it is measured on, by name; a single task is called "".

        Raises:
            UserError: if the data is not there.
        """
        tasks = LOADERS[self.task](data) if self.task in LOADERS else {"": load(self.task, data)}
        return {name: tasks[name] for name in self.only or tasks}

    def settings(self) -> pd.DataFrame:
        """Every value that each row is measured with, as text: a line a row, empty where its method has none such."""
        values = {name: arm.describe() for name, arm in self.rows.items()}
        return pd.DataFrame.from_dict(values, orient="index").fillna("").rename_axis("row")

    def measure(self, row: str, tasks: Mapping[str, Task], seed: int, out: Path | None = None) -> pd.DataFrame:
        """One row on one seed, as lines of a results file; of several tasks also their mean score.

        Traces of classifiers go beside the file `out`, but for those that are scored otherwise than they were trained.
        """
        arm, numbers = self.rows[row], dict[str, list[Number]]()
        for name, task in tasks.items():
            trace = None if task.pair.dense or arm.adabn or arm.supervised else Trace(task)
            numbers[name] = arm.measure(task, seed, self.details, trace)
            if trace and out:
                trace.write(out, row, seed, name)
        lines = [(row, seed, name, *number) for name, of_task in numbers.items() for number in of_task]
        if len(tasks) > 1:
            ends = [next(n[3] for n in of_task if n[1:3] == ("score", "")) for of_task in numbers.values()]
            lines.insert(0, (row, seed, "", "end", "score", "", sum(ends) / len(ends)))
        return pd.DataFrame(lines, columns=results.COLUMNS).round({"value": 4})


def measure(name: str, seeds: Sequence[int], out: Path, data: Path | None = None) -> None:
    """Measure what `out`, a NAME.csv, does not hold yet, row by row and seed by seed; each result is written at once.

    NAME.settings.csv beside it says with what; a row that is held there with other settings is measured again. Where
    nothing is left to measure, no file changes.

    Raises:
        UserError: for an unknown study, data that is not there, and an `out` that is no results file of this study.
    """
    study = STUDIES[choose("table", name, STUDIES)]
    if out.suffix != ".csv":
        raise UserError(f"--out must end with .csv, got {out}")
    settings, beside = study.settings(), out.with_suffix(".settings.csv")
    held = results.read(out) if out.exists() else pd.DataFrame(columns=results.COLUMNS)
    if out.exists() and not beside.exists():
        raise UserError(f"{out}: {beside.name} is not beside it, which says how it was measured; give another --out")
    before = results.read_settings(beside) if beside.exists() else settings[:0]
    if unknown := [row for row in held["row"].unique() if row not in study.rows]:
        raise UserError(f"{out}: holds {', '.join(unknown)}, which table {name} does not have; give another --out")
    same = [row for row in study.rows if row in before.index and _values(before, row) == _values(settings, row)]
    held, tasks = held[held["row"].isin(same)], study.tasks(data)
    done = set(zip(held["seed"], held["row"], strict=True))
    left = [(seed, row) for seed in seeds for row in study.rows if (seed, row) not in done]
    if not left:
        return
    where, all_seeds = " --data DIR" if data else "", sorted({*map(int, held["seed"]), *seeds})
    command = f"uda bench accuracy --table {name} --seeds {','.join(map(str, all_seeds))}{where} --out {out.name}"
    comments = {"command": command, "note": study.note} | made_with(held.attrs)
    results.write(held, out, comments)  # before the settings: so that none stand beside another's numbers
    write_whole(beside, settings.to_csv(lineterminator="\n").encode())
    torch.set_num_threads(1)
    for seed, row in tqdm(left, unit="run"):
        measured = study.measure(row, tasks, seed, out)
        held = pd.concat([held, measured]) if len(held) else measured
        held = held.iloc[held["row"].map(list(study.rows).index).argsort(kind="stable")]
        results.write(held, out, comments)


def made_with(before: Mapping[str, str]) -> dict[str, str]:
    """The comments of a results file that name torch's version and the day, beside those that it names already."""
    now = {"torch": torch.__version__.split("+")[0], "date": date.today().isoformat()}
    return {name: ", ".join(sorted({text, *before.get(name, text).split(", ")})) for name, text in now.items()}


def _values(settings: pd.DataFrame, row: str) -> dict[str, str]:
    return {name: value for name, value in settings.loc[row].items() if value}


# -- numbers of a run --------------------------------------------------------------------------------------------------


def scores(run: Run, task: Task, phase: str, result: Evaluation) -> Iterator[Number]:
    """The metric on the target's test split and on the source's validation split, and what else belongs to a phase.

    That is the score of each class; of a classifier the score on the target's training images, where those are others,
    and on both splits pooled; of a CAG run in a stage the quality of the pseudo-labels that it learnt from.
    """
    yield phase, "score", "", result.score
    if not task.pair.dense and task.pair.target_train is not task.pair.target_test:
        train = evaluate(run, task, "target_train")
        yield phase, "train_score", "", train.score
        yield phase, "pooled_score", "", METRICS[task.metric](train.confusion + result.confusion)
    yield phase, "source_score", "", result.source_score
    yield from _shares(phase, "score", result.per_class)
    for kind, quality in (label_qualities(run, task) if getattr(run, "stage", 0) else {}).items():
        for measure in ("coverage", "precision", "recall"):
            overall = {"": quality.get(f"overall_{measure}")}
            yield from _shares(phase, f"{kind.removesuffix('s')} {measure}", overall | quality[measure])


def _shares(phase: str, measure: str, of_classes: Mapping[str, float | None]) -> Iterator[Number]:
    return ((phase, measure, name, share) for name, share in of_classes.items() if share is not None)


def commonest_mistakes(result: Evaluation, most: int = 3) -> Iterator[Number]:
    """The pairs of true and predicted class that are confused most often, and how many samples each takes."""
    wrong, classes = torch.tensor(result.confusion).fill_diagonal_(0), list(result.per_class)
    for samples, i in zip(*(values.tolist() for values in wrong.flatten().topk(most)), strict=True):
        yield "end", "mistake", f"{classes[i // len(classes)]} read as {classes[i % len(classes)]}", samples


def label_free(run: Run) -> dict[str, float]:
    """What one can know of a finished classifier without a target label."""
    x_s, x_t = run.pair.source_train.x, run.pair.target_train.x
    f_s, f_t = (run.features(x).cpu() for x in (x_s, x_t))
    cosines = validators.class_gradient_cosines(run)
    finite = cosines[cosines.isfinite()]
    return validators.of_target(run, *run.predict(x_t)) | {
        "domain accuracy": domain_gap.domain_accuracy(f_s, f_t).value,
        "neighbour mixing": domain_gap.neighbour_mixing(f_s, f_t).value,
        "lowest class cosine": finite.min().item() if len(finite) else math.nan,
    }


# -- what they are measured on -----------------------------------------------------------------------------------------


def imbalanced(data: Path | None) -> dict[str, Task]:
    """The handwriting, of which the target keeps a tenth of its digits 5 to 9."""
    return {"": fonts_handwriting(drop=IMBALANCED_DROP)}


def missing_classes(data: Path | None) -> dict[str, Task]:
    """The handwriting, of which the target has no digit 5 to 9."""
    return {"": fonts_handwriting(drop=dict.fromkeys(IMBALANCED_DROP, 1.0))}


def office31_features(data: Path | None) -> dict[str, Task]:
    """All six tasks, from office31_features/amazon.npz, dslr.npz and webcam.npz in the data folder.

    Raises:
        UserError: if a file is not there, with the command that makes it.
    """
    data = data_folder(data)
    files = {name[0].upper(): data / "office31_features" / f"{name}.npz" for name in ("amazon", "dslr", "webcam")}
    for file in files.values():
        if not file.is_file():
            images = data / "office31" / file.stem / "images"
            command = f"uda features {images} --network efficientnet_lite0 --weights imagenet --out {file}"
            raise UserError(f"{file}: no such file; make it with: {command}")
    return {f"{s}->{t}": feature_files.load(files[s], files[t]) for s, t in permutations(files, 2)}


def blobs_moved(data: Path | None) -> dict[str, Task]:
    """Three Gaussians in the plane, with class B of the target at three places on its way into A's half."""
    return {f"B at {b:g}": blobs(b=b) for b in (0.5, -0.5, -1.0)}


def blobs_counted(data: Path | None) -> dict[str, Task]:
    """Three Gaussians in the plane: as many samples of each class as the source has, or none of A."""
    made = {"counts alike, B at 0.5": blobs(0.5), "counts alike, B at -0.5": blobs(-0.5)}
    return made | {"no A, B at 0.5": blobs(0.5, classes=(0, 400, 200))}


def cells(recipe: str, off: Mapping[str, Any], on: Mapping[str, Mapping[str, Any]]) -> dict[str, Arm]:
    """Every combination of terms, by the names of those that are on: a recipe with the settings `off`, changed by `on`.

    >>> list(cells("cgdm-blobs", {"infomax": 0, "alpha": 0}, {"InfoMax": {"infomax": 0.3}, "labels": {"alpha": 1.0}}))
    ['none', 'labels', 'InfoMax', 'InfoMax + labels']
    """
    made = {}
    for chosen in product((False, True), repeat=len(on)):
        names = [name for name, is_on in zip(on, chosen, strict=True) if is_on]
        settings = reduce(lambda settings, name: settings | on[name], names, dict(off))
        made[" + ".join(names) or "none"] = Arm(recipe, settings=settings)
    return made


def read(path: Path) -> Study:
    """The study that a file holds."""
    values = tomllib.loads(path.read_text(encoding="utf-8"))
    factorial = cells(**values.pop("factorial")) if "factorial" in values else {}
    rows = factorial | {name: Arm(**row) for name, row in values.pop("rows", {}).items()}
    return Study(**values, rows=rows)


LOADERS = {
    "imbalanced": imbalanced, "missing-classes": missing_classes, "office31-features": office31_features,
    "blobs-moved": blobs_moved, "blobs-counted": blobs_counted,
}  # fmt: skip
STUDIES = {path.stem: read(path) for path in sorted(Path(__file__).parent.glob("*.toml"))}
