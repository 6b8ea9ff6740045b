"""Measured results, one number a line: `load("streets")` is a pandas DataFrame, `show("streets")` a table of scores.

NAME.csv beside this file has the columns `COLUMNS`: a row of the table, the seed of the training, the task (where a row
has several; empty: over all of them), the phase ("source", "adabn", "warm-up", "stage1" ..., in order, or "end"), the
measure, the class (empty: over all classes) and the value; scores are shares of 1. What there was nothing to count for
has no line. The comments at its top name the command that made it, and NAME.settings.csv the settings of each row.
"""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import combinations, product, takewhile
from pathlib import Path
from statistics import mean, stdev

import pandas as pd

from uda_core.errors import UserError, choose
from uda_core.files import write_whole
from uda_core.lab.results import choices
from uda_core.lab.results.effects import effects
from uda_core.lab.validators import RULE, RULES

FOLDER = Path(__file__).parent
COLUMNS = ("row", "seed", "task", "phase", "measure", "class", "value")
NAMES = tuple(sorted(file.name.removesuffix(".settings.csv") for file in FOLDER.glob("*.settings.csv")))
PHASES = {"source": "source", "adabn": "AdaBN", "warm-up": "warm-up", "stage1": "stage 1", "stage2": "stage 2"}
SUPERVISED = "supervised on the target"
BEST_OF_THREE = f"CGDM (code) with beta 0.1, best of 3, chosen by {RULE}, 3x cost"
REACHED = {  # what the table `reached` calls the task of a study
    "fonts-handwriting": "fonts -> handwriting, accuracy",
    "mnist-usps": "MNIST -> USPS, accuracy",
    "usps-mnist": "USPS -> MNIST, accuracy",
    "office31-features": "Office-31, frozen features, mean of six tasks, accuracy",
    "streets": "streets, rendered -> camera, mIoU",
    "camvid-day-dusk": "CamVid, day -> dusk, mIoU",
}
GRADIENTS = {  # what `uda bench gradients` measures of each loss; the first four are cosines
    "wce": "with L_wce", "truth": "with the truth", "gd": "with L_gd", "again": "with its own of another batch",
    "norm": "norm, L_dis = 1",
}  # fmt: skip
MARKS = r"(<!-- results:(\S+):begin -->).*?(<!-- results:\2:end -->)"


def read(path: Path) -> pd.DataFrame:
    """A results file; `.attrs` holds what its comments name: command, note, torch, date (of both all that took part).

    Raises:
        UserError: if it is another kind of file.
    """
    text = path.read_text(encoding="utf-8")
    comments = list(takewhile(lambda line: line.startswith("# "), text.splitlines()))
    if text.splitlines()[len(comments) : len(comments) + 1] != [",".join(COLUMNS)]:
        raise UserError(f"{path}: not a results file, whose columns are {', '.join(COLUMNS)}; give another name")
    kinds = dict.fromkeys(COLUMNS, str) | {"seed": int, "value": float}
    frame = pd.read_csv(io.StringIO(text), skiprows=len(comments), dtype=kinds, keep_default_na=False)
    frame.attrs = dict(line[2:].split(": ", 1) for line in comments)
    return frame


def write(frame: pd.DataFrame, path: Path, comments: Mapping[str, str]) -> None:
    """The lines, below the comments, as `read` reads them; `path` is written whole or not at all."""
    head = "".join(f"# {name}: {text}\n" for name, text in comments.items())
    write_whole(path, (head + frame.to_csv(index=False, float_format="%.10g", lineterminator="\n")).encode())


def read_settings(path: Path) -> pd.DataFrame:
    """With what each row was measured: a line a row, all as text, empty where a method has no such setting."""
    return pd.read_csv(path, index_col="row", dtype=str, keep_default_na=False)


def load(name: str) -> pd.DataFrame:
    """The results of this name.

    Raises:
        UserError: for an unknown name.
    """
    return read(FOLDER / f"{choose('results', name, NAMES)}.csv")


# -- numbers of one row ------------------------------------------------------------------------------------------------


def scores(name: str, row: str) -> dict[int, float]:
    """Target score of each seed at the last step, in percent."""
    lines = _scores(name, row)
    return lines[lines["task"] == ""].groupby("seed")["value"].last().to_dict()


def milestones(name: str, row: str) -> dict[str, list[float]]:
    """Target score of each seed, in percent, at the end of each phase that comes before the last one."""
    lines = _scores(name, row)
    return {part: list(lines["value"][lines["phase"] == part]) for part in lines["phase"].unique()[:-1]}


def tasks(name: str, row: str) -> dict[str, list[float]]:
    """Target score of each seed, in percent, on each task, where a row has several."""
    lines = _scores(name, row)
    return {part: list(lines["value"][lines["task"] == part]) for part in lines["task"].unique() if part}


def pooled(name: str, row: str) -> dict[str, list[float]]:
    """Score of each seed over the target's training and test images together, in percent, where those are others."""
    held = numbers(name, row)
    return {"train + test": list(100 * held["pooled_score"])} if "pooled_score" in held else {}


def per_class(name: str, row: str) -> pd.Series:
    """Target score of each class at the last step, in percent: the mean over the seeds."""
    lines = _lines(name, row)
    lines = lines[(lines["measure"] == "score") & (lines["class"] != "")]
    ends = lines.groupby(["class", "seed"], sort=False)["value"].last()
    return 100 * ends.groupby("class", sort=False).mean()


def numbers(name: str, row: str) -> pd.DataFrame:
    """All that was measured at the last step over all classes: a line a seed, a column a measure."""
    lines = _lines(name, row)
    lines = lines[(lines["class"] == "") & (lines["task"] == "")]
    return lines.pivot_table(index="seed", columns="measure", values="value", aggfunc="last", sort=False)


def picks(name: str, row: str, groups: Iterable[Sequence[int]]) -> pd.DataFrame:
    """Target scores, in percent, of one run from each group of seeds, a line a group.

    Columns: by each of `RULES`; "mean", the mean of the group; "best", its best run by target labels.
    """
    held, lines = numbers(name, row), list[dict[str, float]]()
    for group in groups:
        runs = held.loc[list(group)]
        score = 100 * runs["score"]
        chosen = {rule: score[runs[number].idxmin()] for rule, number in RULES.items()}
        lines.append({"mean": score.mean(), **chosen, "best": score.max()})
    return pd.DataFrame(lines)


def triples() -> list[list[int]]:
    """The fresh seeds, by threes."""
    seeds = list(scores("restarts", "CGDM (code)"))
    return [seeds[i : i + 3] for i in range(0, len(seeds), 3)]


def _lines(name: str, row: str) -> pd.DataFrame:
    frame = load(name)
    return frame[frame["row"] == choose("row", row, frame["row"].unique())]


def _scores(name: str, row: str) -> pd.DataFrame:
    """The lines with a score over all classes, in percent."""
    lines = _lines(name, row)
    lines = lines[(lines["measure"] == "score") & (lines["class"] == "")]
    return lines.assign(value=100 * lines["value"])


# -- tables ------------------------------------------------------------------------------------------------------------


def markdown(name: str, rows: Sequence[str] | None = None) -> str:
    """A table of target scores in percent at the last step: mean and standard deviation over the seeds, and each seed.

    Before them mean and standard deviation at the end of each earlier phase, where a row has several; else on the
    target's training and test images together. Of several tasks, mean and standard deviation on each, in place of the
    seeds.
    """
    frame = load(name)
    chosen = list(frame["row"].unique()) if rows is None else rows
    held = {row: tasks(name, row) or milestones(name, row) or pooled(name, row) for row in chosen}
    columns = sorted(dict.fromkeys(part for row in chosen for part in held[row]), key=_place)
    heads = [f"after {PHASES[part]}" if part in PHASES else part for part in columns]
    seeds = () if any(tasks(name, row) for row in chosen) else frame["seed"].unique()
    heads += ["mean", "±", *(f"seed {seed}" for seed in seeds)]
    lines = ["| " + _line(*heads), "|---" + "|---:" * len(heads) + "|"]
    for row in chosen:
        values = list(scores(name, row).values())
        before = [_mean_and_spread(held[row].get(part, [])) for part in columns]
        of_seeds = [f"{value:.1f}" for value in values if len(seeds)]
        lines.append(_line(row, *before, f"**{mean(values):.1f}**", _spread(values), *of_seeds))
    return "\n".join([*lines, "", f"{frame.attrs['note']} `{frame.attrs['command']}`"])


def beside_published() -> str:
    """A table of the papers' numbers in percent, and of ours: mean ± standard deviation, or why there are none."""
    lines = [_line("task", "method", "published", "here", "where it was published"), "|---|---|---:|---:|---|"]
    for number in pd.read_csv(FOLDER / "published.csv", dtype=str, keep_default_na=False).itertuples():
        ours = list(scores(number.study, number.row).values()) if number.study else []
        here = _mean_and_spread(ours) or f"not run: needs {number.needs}"
        lines.append(_line(number.task, number.method, number.published, here, number.source))
    return "\n".join(lines)


def reached() -> str:
    """A table of what the kit reaches, a line a task: source only, the best row, and training with target labels."""
    lines = [_line("task", "source only", "best here", "method", "with target labels"), "|---|---:|---:|---|---:|"]
    for name, task in REACHED.items():
        ends = {row: list(scores(name, row).values()) for row in load(name)["row"].unique()}
        if name == "fonts-handwriting":
            ends[BEST_OF_THREE] = list(picks("restarts", "CGDM (code)", triples())[RULE])
        first = ends.get("source only") or milestones(name, "CAG")["source"]
        best = max((row for row in ends if not row.startswith("supervised")), key=lambda row: mean(ends[row]))
        numbers = [_mean_and_spread(values) for values in (first, ends[best], ends.get(SUPERVISED, []))]
        lines.append(_line(task, numbers[0], numbers[1], best, numbers[2]))
    note = (
        "Percent, mean ± standard deviation over the seeds, at the last step. "
        "The best row is picked by its target score, which nobody has before; of a best of 3, each pick is a seed."
    )
    return "\n".join([*lines, "", note])


def one_of_three() -> str:
    """A table of what choosing one of three runs reaches: where the rule was chosen, and on seeds not used for that."""
    row = "CGDM (code)"
    rehearsed = picks("restarts-rehearsal", row, combinations(scores("restarts-rehearsal", row), 3))
    fresh = triples()
    measured = picks("restarts", row, fresh)
    heads = ["rehearsal: mean", "rehearsal: lowest", "mean", "lowest", *(f"seeds {t[0]}-{t[-1]}" for t in fresh)]
    lines = ["| " + _line(*heads), "|---" + "|---:" * len(heads) + "|"]
    names = {"mean": f"{row}: mean of the three", "best": "best of 3 by target labels, which nobody has"}
    names |= {rule: f"best of 3, chosen by {rule}" for rule in RULES}
    names[RULE] = f"**{BEST_OF_THREE}**"
    for column in rehearsed:
        values = (rehearsed[column].mean(), rehearsed[column].min(), measured[column].mean(), measured[column].min())
        lines.append(_line(names[column], *(f"{value:.1f}" for value in (*values, *measured[column]))))
    attrs = load("restarts").attrs
    note = f"{attrs['note']} Rehearsal: all triples of ten seeds of `fonts-distorted`, on which the rule was chosen."
    return "\n".join([*lines, "", f"{note} `{attrs['command']}`"])


def of_terms(name: str) -> str:
    """Tables of a factorial study, in points of percent: the effects of each term, and the interaction of each pair.

    Each as mean ± standard deviation over the seeds; a line a term or pair and, where the study has several, a task.
    """
    held = effects(load(name))
    texts, lines = held.groupby("task", sort=False).agg(lambda of_seeds: _mean_and_spread(list(of_seeds))), list[str]()
    for head, kinds in (("term", ["alone", "on top of the others", "main effect"]), ("pair", ["interaction"])):
        lines += [_line(head, *kinds), "|---" + "|---:" * len(kinds) + "|"]
        for part, task in product(texts[kinds[0]], texts.index):
            label = f"{part}, {task}" if task else part
            lines.append(_line(label, *(texts.loc[task, (kind, part)] for kind in kinds)))
        lines.append("")
    note = (
        f"Points of percent, mean over the {len(held.index.unique('seed'))} seeds that every cell has. Differences are "
        "taken within a seed; ± is their standard deviation over the seeds."
    )
    return "\n".join([*lines, note])


def of_choices(level: str) -> str:
    """A table of how well each validator chose one of `choices.LEVELS`, a column a study."""
    held = choices.summary(level, {name: name for name in choices.load()["table"].unique()}).fillna("")
    lines = [_line("chosen by", *held), "|---" + "|---:" * len(held.columns) + "|"]
    return "\n".join([*lines, *(_line(name, *texts) for name, texts in zip(held.index, held.values, strict=True))])


def of_labels() -> str:
    """A table of what choosing one of the rows by n target labels loses, a line a study."""
    held = choices.load("validators.labels").query("level == 'rows'")
    lines = [_line("", *(f"{n} labels" for n in held["labels"].unique()))]
    lines.append("|---" + "|---:" * held["labels"].nunique() + "|")
    for name, of_study in held.groupby("table", sort=False):
        numbers = of_study[["regret", "low", "high"]].values
        lines.append(_line(name, *("{:.1f} ({:.1f} to {:.1f})".format(*of_n) for of_n in numbers)))
    return "\n".join(lines)


def gradients() -> pd.DataFrame:
    """What `uda bench gradients` measured: a line for each seed, step, batch size and loss, with `GRADIENTS`."""
    return pd.read_csv(FOLDER / "gradients.csv", comment="#")


def of_gradients(held: pd.DataFrame) -> str:
    """A table of gradients: for each size and loss the mean of each measure, and its lowest and highest."""
    lines = [_line("B", "gradient of", *GRADIENTS.values()), "|---:|---|" + "---:|" * len(GRADIENTS)]
    for (size, loss), found in held.groupby(["batch_size", "loss"], sort=False):
        of_each = [(found[of].agg(["mean", "min", "max"]), 2 * (of != "norm")) for of in GRADIENTS]
        texts = ("{:.{n}f} ({:.{n}f} to {:.{n}f})".format(*ends, n=digits) for ends, digits in of_each)
        lines.append(_line(f"{size:,}", loss, *texts))
    return "\n".join(lines)


def table(name: str, rows: Sequence[str] | None = None) -> str:
    """`markdown(name, rows)`; for "NAME:effects", what `of_terms` makes of a factorial study; or another table here.

    Raises:
        UserError: for an unknown name, or `rows` of a table that is not of a study.
    """
    made = {"published": beside_published, "reached": reached, "one-of-three": one_of_three}
    made |= {f"{name}:effects": partial(of_terms, name) for name in NAMES}
    made |= {f"choices:{level}": partial(of_choices, level) for level in ("rows", "seeds", "checkpoints")}
    made |= {"choices:labels": of_labels, "gradients": lambda: of_gradients(gradients())}
    if name in made and rows is not None:
        raise UserError(f"table {name!r} has no rows to choose from; leave them out")
    return made[name]() if name in made else markdown(name, rows)


def show(name: str, rows: Sequence[str] | None = None) -> None:
    """Display `table(name, rows)` in a notebook."""
    from IPython.display import Markdown, display

    display(Markdown(table(name, rows)))


def write_into(page: Path) -> None:
    """Renew every `table` of a page, between marks such as `<!-- results:streets:begin -->`, and the one with `end`.

    Raises:
        UserError: if the page has no such marks, or a name is unknown.
    """

    def renewed(marks: re.Match) -> str:
        return f"{marks[1]}\n{table(marks[2])}\n{marks[3]}"

    text, tables = re.subn(MARKS, renewed, page.read_text(encoding="utf-8"), flags=re.DOTALL)
    if not tables:
        raise UserError(f"{page}: no <!-- results:NAME:begin --> ... <!-- results:NAME:end --> to write between")
    page.write_text(text, encoding="utf-8")


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _place(part: str) -> int:
    """Phases in their order, tasks as they come."""
    return list(PHASES).index(part) if part in PHASES else 0


def _spread(values: Sequence[float]) -> str:
    return f"{stdev(values):.1f}" if len(values) > 1 else ""


def _mean_and_spread(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.1f} (one seed)"
    return f"{mean(values):.1f} ± {_spread(values)}" if values else ""
