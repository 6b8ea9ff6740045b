"""`uda bench validators`: every validator on runs that `uda bench accuracy` recorded, and what a few labels choose."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from uda_core.errors import UserError, choose
from uda_core.evaluation import labels
from uda_core.files import write_whole
from uda_core.lab import importance, validators
from uda_core.lab.results.choices import LEVELS, RUN, VALIDATORS, regret
from uda_core.lab.studies import STUDIES
from uda_core.lab.studies.traces import MOST, file_of
from uda_core.task import Task

OF_TRACES = ("target entropy", "target InfoMax", "commonest predicted class")  # that the traces hold already
LABELS, DRAWS = (10, 25, 50, 100, 200), 1000


def measure(table: str, folder: Path, out: Path, data: Path | None = None, last: bool = False) -> None:
    """Every validator on the runs whose traces `uda bench accuracy` left in `folder`, into `out` and OUT.labels.csv.

    What these files hold of other tables is kept. With `last`, only the last step of each run is looked at.

    Raises:
        UserError: for an unknown table, traces of another one, a folder without any, and data that is not there.
    """
    listed = folder.with_name(f"{folder.name}.csv")
    study = STUDIES[choose("table", table, STUDIES)]
    if not (folder.is_dir() and listed.is_file()):
        raise UserError(f"{folder}: no traces with {listed.name} beside them; `uda bench accuracy --out` makes both")
    if out.suffix != ".csv":
        raise UserError(f"--out must end with .csv, got {out}")
    looks = pd.read_csv(listed, keep_default_na=False, na_values=dict.fromkeys(OF_TRACES, ""))
    if unknown := sorted({*looks["row"]} - {*study.rows}):
        raise UserError(f"{listed}: holds {', '.join(unknown)}, which table {table} does not have; give its --table")
    torch.set_num_threads(1)
    tasks, found, right = study.tasks(data), list[pd.DataFrame](), dict[tuple, np.ndarray]()
    for (row, seed, name), lines in tqdm(looks.groupby(["row", "seed", "task"], sort=False), unit="run"):
        arrays = {key: torch.from_numpy(a).float() for key, a in np.load(file_of(folder, row, seed, name)).items()}
        if last:
            lines, arrays = lines[-1:], arrays | {domain: arrays[domain][-1:] for domain in ("source", "target")}
        if name not in tasks or len(labels(tasks[name], "target_test")[:MOST]) != arrays["target"].shape[2]:
            raise UserError(f"{listed}: {row}, seed {seed} is not of table {table}; give its --table")
        found.append(of_run(arrays, tasks[name], lines.reset_index(drop=True)))
        y = labels(tasks[name], "target_test")[:MOST]
        right[row, seed, name] = (arrays["target"].sum(1).argmax(2) == y).numpy()  # [T, N]
    runs = pd.concat(found).assign(table=table)[[*RUN, "step", "score", *VALIDATORS]]
    _keep(runs.sort_values(["row", "seed", "task", "step"], kind="stable"), table, out)
    _keep(by_labels(right, table), table, out.with_suffix(".labels.csv"))


def of_run(arrays: Mapping[str, Tensor], task: Task, lines: pd.DataFrame) -> pd.DataFrame:
    """The lines of a run's looks with every validator; `arrays` are those of `studies.traces`, as float32."""
    y = labels(task, "source_val")[:MOST]
    wrong = (arrays["source"].sum(1).argmax(2) != y).double()  # [T, M]
    found = lines.assign(**{"source accuracy": 1 - wrong.mean(1).numpy()})
    if lines["target entropy"].notna().all():
        for name, of in {"BNM": validators.batch_nuclear_norm, "SND": validators.soft_neighbourhood_density}.items():
            found[name] = [float(sum(map(of, heads)) / len(heads)) for heads in arrays["target"]]
    f_s, f_t = (arrays[f"{domain}_features"].numpy() for domain in ("source", "target"))
    p_t, last = importance.target_probability(f_s, f_t), found.index[-1]
    for name, risk in {
        "IWCV": importance.importance_weighted_risk, "DEV": importance.deep_embedded_validation
    }.items():  # fmt: skip
        found.loc[last, name] = float(risk(wrong[-1], p_t, len(f_s), len(f_t)))
    return found.reindex(columns=[*lines, *(name for name in VALIDATORS if name not in lines)])


def label_regrets(right: np.ndarray, n: int, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """What choosing the run with most right answers on n target samples loses, [draws], in points.

    right [R, N]: whether a run is right on a sample. All runs are asked about the same n, drawn without replacement.
    """
    rng, score = np.random.default_rng(seed), 100 * right.mean(1)
    drawn = [right[:, rng.choice(right.shape[1], n, replace=False)].sum(1) for _ in range(draws)]
    return np.array([regret(hits, score) for hits in drawn])


def by_labels(right: Mapping[tuple, np.ndarray], table: str) -> pd.DataFrame:
    """What choosing by n target labels loses: mean over the groups of a level, and where 90 % of the draws lie.

    right: (row, seed, task) -> [T, N], at each look whether a run is right on a sample.
    """
    runs = pd.DataFrame(list(right), columns=["row", "seed", "task"])
    lines = []
    for level, keys in LEVELS.items():
        groups = list(right.values())
        if level != "checkpoints":
            same = runs.groupby([key for key in keys if key != "table"]).indices.values()
            groups = [np.stack([list(right.values())[i][-1] for i in of_group]) for of_group in same]
        groups = [group for group in groups if len(group) > 2]
        for n in (n for n in LABELS if groups and n <= min(group.shape[1] for group in groups)):
            lost = np.stack(
                [label_regrets(group, n, DRAWS // 10 if level == "checkpoints" else DRAWS) for group in groups]
            )
            low, high = np.quantile(lost, (0.05, 0.95))
            lines.append((table, level, n, lost.mean(), low, high))
    return pd.DataFrame(lines, columns=["table", "level", "labels", "regret", "low", "high"])


def _keep(lines: pd.DataFrame, table: str, out: Path) -> None:
    """Write the lines of a table in place of those that `out` holds of it."""
    text = lines.to_csv(index=False, float_format="%.4g", lineterminator="\n")
    if out.exists():
        held = pd.read_csv(out, keep_default_na=False, dtype=str)
        text = held[held["table"] != table].to_csv(index=False, lineterminator="\n") + text.partition("\n")[2]
    write_whole(out, text.encode())
