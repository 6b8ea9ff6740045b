"""How well a number that needs no target label chooses one of several runs: correlation and regret.

`validators.csv` beside this file has a line for each look at a recorded run: table, row, seed, task, step, the score on
the target's test split, and the columns `VALIDATORS`; IWCV and DEV at the last step alone. Most judge logits: those of
runs that predict by clusters are none, and their columns are empty. `validators.labels.csv` has what choosing by a few
target labels loses, drawn many times. `uda bench validators` makes both.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest, rankdata

from uda_core.errors import choose

VALIDATORS = {  # 1: the highest value is chosen, -1: the lowest
    "source accuracy": 1, "target entropy": -1, "target InfoMax": -1, "BNM": 1, "SND": 1, "IWCV": -1, "DEV": -1,
    "commonest predicted class": -1,
}  # fmt: skip
RUN = ["table", "row", "seed", "task"]
LEVELS = {  # what is chosen from: one of the looks at a run, of the seeds of a row, of the rows of a seed
    "checkpoints": RUN,
    "seeds": ["table", "task", "row"],
    "rows": ["table", "task", "seed"],
    "all runs": ["table", "task"],
}


def load(name: str = "validators") -> pd.DataFrame:
    """The recorded numbers: "validators", or "validators.labels"."""
    return pd.read_csv(
        Path(__file__).with_name(f"{name}.csv"), keep_default_na=False, na_values=dict.fromkeys(VALIDATORS, "")
    )


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


def interval(right: int, n: int) -> tuple[float, float]:
    """The 95 % confidence interval (Wilson 1927) of an accuracy of which n samples are known and `right` are right."""
    found = binomtest(right, n).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


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


def summary(level: str, tables: Mapping[str, str]) -> pd.DataFrame:
    """How well each validator chose, as text: a line each, a column for each of `tables`, by the name it shall have.

    Mean correlation, mean regret, and the largest regret in brackets, over the groups of a level.
    """
    chosen = choices(load().query("table in @tables.keys()"), level).rename(columns={"chosen by": ""})
    of_each = chosen.groupby(["", "table"], sort=False)[["correlation", "regret"]].agg(["mean", "max"])

    def text(line: pd.Series) -> str:
        correlation, (mean, most) = line["correlation", "mean"], line["regret"]
        largest = "" if line.name[0] == "any" else f" ({most:.1f})"  # of a random run there is only a mean
        return ("" if np.isnan(correlation) else f"{correlation:+.2f}, ") + f"{mean:.1f}{largest}"

    texts = of_each.apply(text, axis=1)
    texts = texts.unstack().reindex(texts.index.unique(0))  # pandas 2 mixes values up where it must not sort
    return (
        texts.reindex(columns=[name for name in tables if name in texts])
        .rename(columns=tables)
        .rename_axis(columns=None)
    )
