"""Choosing one of several runs without target labels: what each validator says of recorded runs, and how well it chose.

`results/validators.csv` has a line for each look at a run: table, row, seed, task, step, the score on the target's test
split, and the columns `VALIDATORS`, which need no target label; IWCV and DEV at the last step alone. Logits are what
most of them judge: those of runs that predict by clusters are none, and their columns are empty.
`results/validators.labels.csv` has what choosing by a few labels would lose, drawn many times.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata
from torch import Tensor
from tqdm import tqdm

from uda_core.errors import UserError, choose
from uda_core.evaluation import labels
from uda_core.files import write_whole
from uda_core.lab import importance, validators
from uda_core.lab.results import FOLDER
from uda_core.lab.studies import STUDIES
from uda_core.lab.studies.traces import MOST, file_of
from uda_core.task import Task

VALIDATORS = {  # 1: the highest value is chosen, -1: the lowest
    "source accuracy": 1, "target entropy": -1, "target InfoMax": -1, "BNM": 1, "SND": 1, "IWCV": -1, "DEV": -1,
    "commonest predicted class": -1,
}  # fmt: skip
OF_TRACES = ("target entropy", "target InfoMax", "commonest predicted class")  # that the traces hold already
RUN = ["table", "row", "seed", "task"]
LEVELS = {  # what is chosen from: one of the looks at a run, of the seeds of a row, of the rows of a seed
    "checkpoints": RUN,
    "seeds": ["table", "task", "row"],
    "rows": ["table", "task", "seed"],
    "all runs": ["table", "task"],
}
LABELS, DRAWS = (10, 25, 50, 100, 200), 1000


def load(name: str = "validators") -> pd.DataFrame:
    """The recorded numbers: "validators", or "validators.labels"."""
    return pd.read_csv(
        FOLDER / f"{name}.csv", comment="#", keep_default_na=False, na_values=dict.fromkeys(VALIDATORS, "")
    )


# -- how well a validator chose ----------------------------------------------------------------------------------------


def weighted_spearman(value: np.ndarray, score: np.ndarray) -> float:
    """Spearman's correlation of a validator (higher is better) and the score, both [R], in which good runs weigh more.

    w = max(rank of value, rank of score)^2, of dense ranks up to 1: a run weighs if it is good or is said to be. Then
    Pearson's correlation of the weighted ranks, with weights w (Musgrave et al. 2022, "Three new validators", as in
    their `powerful-benchmarker`). NaN where either is the same for all.
    """
    dense = [rankdata(x, method="dense").astype(int) for x in (value, score)]
    w = np.maximum(*(d / d.max() for d in dense)) ** 2
    ranks = []
    for d in dense:
        of_value, count = np.bincount(d, w)[1:], np.bincount(d)[1:]  # the weight of all that share a value
        ranks.append((of_value.cumsum() - of_value + (count + 1) / 2 * of_value / count)[d - 1])
    covariance = np.cov(ranks, aweights=w)
    length = np.sqrt(covariance[0, 0] * covariance[1, 1])
    return float(covariance[0, 1] / length) if length else np.nan


def regret(value: np.ndarray, score: np.ndarray) -> float:
    """Best score minus that of the run with the highest value; where several share it, minus their mean."""
    return float(score.max() - score[value == value.max()].mean())


def choices(held: pd.DataFrame, level: str, names: Mapping[str, int] = VALIDATORS) -> pd.DataFrame:
    """How each validator chose: a line for each group to choose from and validator, with its correlation and regret.

    Groups of three and more, by `LEVELS`: of all looks for "checkpoints", else of the last steps. Runs that lack a
    number are left out. Beside them stand "any", a run drawn at random, and the "last step" of a run.

    Raises:
        UserError: for an unknown level.
    """
    keys = LEVELS[choose("level", level, LEVELS)]
    if level == "checkpoints":
        names = {name: sign for name, sign in names.items() if name not in ("IWCV", "DEV")}
    else:
        held = held[held["step"] == held.groupby(RUN)["step"].transform("max")]
    lines = []
    for key, group in held.dropna(subset=list(names)).groupby(keys, sort=False):
        score = 100 * group["score"].to_numpy()
        if len(group) < 3:
            continue
        by = {name: sign * group[name].to_numpy() for name, sign in names.items()}
        lines += [(*key, name, weighted_spearman(v, score), regret(v, score)) for name, v in by.items()]
        lines.append((*key, "any", np.nan, regret(np.zeros(len(score)), score)))
        if level == "checkpoints":
            lines.append((*key, "last step", np.nan, regret(group["step"].to_numpy(), score)))
    return pd.DataFrame(lines, columns=[*keys, "chosen by", "correlation", "regret"])


def label_regrets(right: np.ndarray, n: int, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """What choosing the run with most right answers on n target samples loses, [draws], in points.

    right [R, N]: whether a run is right on a sample. All runs are asked about the same n, drawn without replacement.
    """
    rng, score = np.random.default_rng(seed), 100 * right.mean(1)
    drawn = [right[:, rng.choice(right.shape[1], n, replace=False)].sum(1) for _ in range(draws)]
    return np.array([regret(hits, score) for hits in drawn])


# -- from the traces of a study ----------------------------------------------------------------------------------------


def measure(table: str, folder: Path, out: Path, data: Path | None = None) -> None:
    """Every validator on the runs whose traces `uda bench accuracy` left in `folder`, into `out` and OUT.labels.csv.

    What these files hold of other tables is kept.

    Raises:
        UserError: for an unknown table, a folder without traces, and data that is not there.
    """
    listed = folder.with_name(f"{folder.name}.csv")
    study = STUDIES[choose("table", table, STUDIES)]
    if not (folder.is_dir() and listed.is_file()):
        raise UserError(f"{folder}: no traces with {listed.name} beside them; `uda bench accuracy --out` makes both")
    if out.suffix != ".csv":
        raise UserError(f"--out must end with .csv, got {out}")
    looks = pd.read_csv(listed, keep_default_na=False, na_values=dict.fromkeys(OF_TRACES, ""))
    torch.set_num_threads(1)
    tasks, found, right = study.tasks(data), list[pd.DataFrame](), dict[tuple, np.ndarray]()
    for (row, seed, name), lines in tqdm(looks.groupby(["row", "seed", "task"], sort=False), unit="run"):
        arrays = {key: torch.from_numpy(a).float() for key, a in np.load(file_of(folder, row, seed, name)).items()}
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
        for n in (n for n in LABELS if groups and n <= groups[0].shape[1]):
            lost = np.stack(
                [label_regrets(group, n, DRAWS // 10 if level == "checkpoints" else DRAWS) for group in groups]
            )
            low, high = np.quantile(lost, (0.05, 0.95))
            lines.append((table, level, n, lost.mean(), low, high))
    return pd.DataFrame(lines, columns=["table", "level", "labels", "regret", "low", "high"])


def _keep(lines: pd.DataFrame, table: str, out: Path) -> None:
    """Write the lines of a table in place of those that `out` holds of it."""
    if out.exists():
        held = pd.read_csv(out, keep_default_na=False, dtype=str)
        lines = pd.concat([held[held["table"] != table], lines])
    write_whole(out, lines.to_csv(index=False, float_format="%.4g", lineterminator="\n").encode())
