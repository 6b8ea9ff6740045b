"""Recipes: one TOML file for each method and task, with everything that the run is made of.

    load("cgdm-visda")                      a recipe by its name: the file recipes/cgdm-visda.toml
    load("infomax", "office31:A-W")         one by its name and the task: recipes/infomax-office31.toml
    default_for("cgdm", "office31:A-W")     what `uda train cgdm office31:A-W` takes: recipes/cgdm-office31.toml

Such a file reads from top to bottom, and a comment behind each value says where that is from:

    about = "..."                one line
    method = "cgdm"
    tasks = ["visda2017"]        by name, or a family such as "office31"
    epochs = 21                  or steps; neither where the phases of the method say how long it takes
    departures = ["..."]         where this kit does otherwise than published code; may be left out
    [config]                     every field of the method's configuration, except seed, device and precision
    [settings]                   every setting; "epoch" in place of a number of steps is once through the source
"""

import dataclasses
import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from uda_core import distributed
from uda_core.data.catalog import TASKS, entry_of
from uda_core.errors import UserError, choose
from uda_core.methods import CLASSIFICATION, OF_VECTORS, SEGMENTATION
from uda_core.run import Method, Run
from uda_core.task import Pair

FOLDER = Path(__file__).parent / "recipes"
FOLDERS = [FOLDER]  # where recipes are looked for: after these, beside the plugins that are loaded
EPOCH = "epoch"  # in place of a number of steps
HOW = ("seed", "device", "precision")  # how a run is executed, not what it is: given when it starts
Values = Mapping[str, Any]
NOTHING: Values = MappingProxyType({})
BY_TASK = {"infomax": "source_only", "mcd-infomax": "cgdm"}  # NAME-TASK for each task that classifies; with its method
SHARED = {"office-home": "office31"}  # families of tasks that take the recipes of another one


@dataclass(frozen=True)
class Recipe:
    """All that a run is made of but the data; `start` makes the run.

    Raises:
        UserError: for a value that is missing, unknown or refused by the method.
    """

    name: str
    about: str
    method: str
    tasks: tuple[str, ...]  # by name, or by family
    config: Values
    settings: Values  # a number of steps may be `EPOCH`
    steps: int | None = None
    epochs: int | None = None  # in place of steps
    departures: tuple[str, ...] = ()  # where this kit does otherwise than the published code

    def __post_init__(self):
        if self.method not in all_methods():
            choose("method", self.method, all_methods())
        if len({entry_of(task).dense for task in self.tasks}) != 1:
            raise UserError("tasks must be one or several, which all label images or all label pixels")
        config, settings = fields_of(self.form)
        _complete("config", self.config, config)
        _complete("settings", self.settings, settings)
        made = self.form.run.CONFIG(**self.config)
        object.__setattr__(self, "config", {name: getattr(made, name) for name in self.config})
        once = [n for n, value in self.settings.items() if value == EPOCH and settings[n].metadata["unit"] == "steps"]
        chosen = self.form.settings(**{**self.settings, **dict.fromkeys(once, 1)})
        object.__setattr__(self, "settings", {n: EPOCH if n in once else getattr(chosen, n) for n in self.settings})
        for name, value in (("steps", self.steps), ("epochs", self.epochs)):
            if value is not None and value < 1:
                raise UserError(f"{name} must be at least 1, got {value}")
        if self.epochs and self.steps:
            raise UserError("steps and epochs are both given; leave one of them out")
        if self.epochs and self.form.run.planned_steps:
            raise UserError(f"{self.method} plans its own steps in phases; leave epochs out")
        if not (self.steps or self.epochs or self.form.run.planned_steps):
            raise UserError("steps is missing; give steps = ..., or epochs = ...")

    @property
    def form(self) -> Method:
        """The method, as it is on tasks like these: some label images and, in another form, pixels."""
        return method_for(self.method, self.tasks[0])

    def check(self, method: str, task: str) -> None:
        """Do nothing if this is a recipe for that method on that task.

        Raises:
            UserError: if it is for another method or other tasks.
        """
        fits = {task, task.partition(":")[0]} & set(self.tasks)
        if method != self.method or not fits:
            mend = f"; use: uda train {self.method} {task} --recipe {self.name}" if fits else ""
            what = f"recipe {self.name} is for {self.method} on {' or '.join(self.tasks)}"
            raise UserError(f"{what}, not for {method} on {task}{mend}")

    def changed(self, config: Values = NOTHING, settings: Values = NOTHING, steps: int | None = None) -> Self:
        """The same with some values changed; `config` may also hold seed, device and precision.

        A ramp over the whole run (DANN's) stays one where `steps` change, unless `settings` hold another.

        Raises:
            UserError: for an unknown name or a value that is refused, and for a variant "paper" that would keep the
                InfoMax term, which the paper does not have.
        """
        to_paper = config.get("variant") == "paper" and self.config.get("variant") == "code"
        if to_paper and "infomax" not in settings:
            raise UserError("variant=paper has no InfoMax term; add infomax=0")
        ramp = {"ramp": steps} if steps and self.settings.get("ramp", 0) == self.steps else {}
        values = {"config": {**self.config, **config}, "settings": {**self.settings, **ramp, **settings}}
        length = {"steps": steps, "epochs": None} if steps else {}
        return dataclasses.replace(self, **values, **length)

    def start(self, pair: Pair, **config: Any) -> Run:
        """A run on this pair, at step 0; `config` holds seed, device, precision, or other changes.

        Raises:
            UserError: for a value that is refused, or a pair that does not suit the method.
        """
        made = self.form.run.CONFIG(**{**self.config, **config})
        settings = {n: _epoch(pair, made.batch_size) if v == EPOCH else v for n, v in self.settings.items()}
        return self.form(pair, made, **settings)

    def length(self, run: Run) -> int:
        """How many steps the run takes."""
        return self.steps or run.planned_steps or (self.epochs or 1) * _epoch(run.pair, run.config.batch_size)


def load(name: str, task: str = "") -> Recipe:
    """The recipe of this name; with a task, NAME-TASK if there is one.

    Raises:
        UserError: if there is none, or its file has a mistake.
    """
    path = _file(f"{name}-{_family(task)}") or _file(name)
    if not path:
        close = difflib.get_close_matches(name, names(), 1)
        guess = f" Did you mean {close[0]!r}?" if close else ""
        raise UserError(f"unknown recipe {name!r}; `uda recipes` lists them.{guess}")
    return read(path)


def default_for(method: str, task: str) -> Recipe:
    """The recipe that a method takes on a task where none is named.

    Raises:
        UserError: for an unknown method or task, or one that does not suit the other.
    """
    name = f"{method_for(method, task).name}-{_family(task)}"
    ours = f"{name}-ours"  # where a published recipe has that name
    return load(ours if _file(ours) else name)


def _file(stem: str) -> Path | None:
    return next((file for folder in FOLDERS if (file := folder / f"{stem}.toml").is_file()), None)


def _family(task: str) -> str:
    family = task.partition(":")[0]
    return SHARED.get(family, family)


def names() -> list[str]:
    """Every recipe, in the order of the alphabet."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def describe(name: str) -> str:
    """The command that trains with a recipe, then its file: every value with its source, and the departures."""
    recipe = load(name)
    tasks = " | ".join(f"{task}:S-T" if TASKS[task].domains else task for task in recipe.tasks)
    command = f"uda train {recipe.method} {tasks} --recipe {name}"
    return f"{name}: {command}\n\n{(FOLDER / f'{name}.toml').read_text(encoding='utf-8').rstrip()}"


def method_help(name: str) -> str:
    """Every name that --set takes, a line each, with the method's default and the range.

    Raises:
        UserError: for an unknown method.
    """
    choose("method", name, all_methods())
    lines = [f"uda train {name} TASK --set NAME=VALUE ... (default, which the recipe of a task may change; range)"]
    for what, forms in (("images", CLASSIFICATION), ("vectors", OF_VECTORS), ("pixels", SEGMENTATION)):
        if name in forms:
            config, settings = fields_of(forms[name])
            lines += [f"  settings, where {what} are labelled; --resume may change them"]
            lines += [*map(_option, settings.values()), "  configuration, fixed from the first step on"]
            lines += map(_option, config.values())
    return "\n".join([*lines, "the other options: uda train --help"])


def _option(f: dataclasses.Field) -> str:
    default = ",".join(map(str, f.default)) if isinstance(f.default, tuple) else str(f.default).lower()
    choices = ("true", "false") if f.type is bool else f.metadata["choices"]
    low, high = f.metadata["low"], f.metadata["high"]
    limits = f"; {low:g} to {high:g}" if low or high else f"; {' or '.join(choices)}" if choices else ""
    start = f"{default} {f.metadata['unit']}".rstrip()
    return f"    {f.name:27} {f.metadata['help']} ({start}{limits})"


def read(path: Path) -> Recipe:
    """The recipe that a file holds; it is called as the file.

    Raises:
        UserError: naming file, field and mend, for a value that is missing, unknown or refused.
    """
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # no TOML, or no text
        raise UserError(f"{path}: {error}; write it as TOML") from error
    try:
        for key, value in said.items():
            if key not in KINDS:
                choose("key", key, KINDS)
            if type(value) is not KINDS[key]:
                raise UserError(f"{key} must be {WORDS[KINDS[key]]}, got {value!r}")
        for key in KINDS:
            if key not in (*said, "steps", "epochs", "departures"):
                raise UserError(f"{key} is missing; give {key} = ...")
        for name in HOW:
            if name in said["config"]:
                raise UserError(f"{name} is no part of a recipe; take it out, and give --set {name}=... when training")
        lists = {key: tuple(said.get(key, ())) for key in ("tasks", "departures")}
        return Recipe(path.stem, **said | lists)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


KINDS = {  # of the keys of a file
    "about": str, "method": str, "tasks": list, "steps": int, "epochs": int, "departures": list,
    "config": dict, "settings": dict,
}  # fmt: skip
WORDS = {str: "text", list: "a list of texts", int: "a whole number", dict: "a table"}


def all_methods() -> list[str]:
    """Every method by name, those of plugins among them."""
    return list(dict.fromkeys((*CLASSIFICATION, *OF_VECTORS, *SEGMENTATION)))


def methods_for(task: str) -> Mapping[str, Method]:
    """The methods for tasks like this one, by name.

    Raises:
        UserError: for an unknown task.
    """
    entry = entry_of(task)
    return SEGMENTATION if entry.dense else CLASSIFICATION | OF_VECTORS if entry.vectors else CLASSIFICATION


def method_for(name: str, task: str) -> Method:
    """The method of this name, as it is on tasks like this one.

    Raises:
        UserError: for an unknown method or task, or one that does not suit the other.
    """
    if name not in all_methods():
        choose("method", name, all_methods())
    forms = methods_for(task)
    if name in OF_VECTORS and name not in forms:
        mend = "make features of images with `uda features`, and train on the task features"
        raise UserError(f"{name} takes vectors, which {task} does not have; {mend}")
    if name not in forms:
        choose(f"method for {task}", name, forms)
    return forms[name]


def fields_of(method: Method) -> tuple[dict[str, dataclasses.Field], dict[str, dataclasses.Field]]:
    """The fields of a method's configuration and its settings, by name."""
    kinds = method.run.CONFIG, method.settings
    config, settings = ({f.name: f for f in dataclasses.fields(kind)} for kind in kinds)
    return config, settings


def parse(pairs: Iterable[str], method: Method) -> tuple[dict[str, Any], dict[str, Any]]:
    """Texts NAME=VALUE as changes of a recipe: of its configuration and of its settings.

    Raises:
        UserError: for a text without "=", and an unknown name; `Recipe.changed` refuses values.
    """
    config, settings = fields_of(method)
    changes: tuple[dict[str, Any], dict[str, Any]] = {}, {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise UserError(f"--set takes name=value, got {pair!r}")
        if name in settings:
            changes[1][name] = _value(text, settings[name].type)
        elif name in config:
            changes[0][name] = _value(text, config[name].type)
        else:
            choose("setting", name, [*settings, *config])
    return changes


def _value(text: str, kind: Any) -> Any:
    """A text as this type, or as it is where it does not read as one."""
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if kind in (int, float):
            return kind(text) if kind is float or text.lstrip("+-").isdigit() else float(text)
        return text if kind is str else tuple(map(int, text.split(",")))
    except (KeyError, ValueError):
        return text


def _complete(what: str, values: Values, fields: Mapping[str, dataclasses.Field]) -> None:
    """Raise a `UserError` if a value has no field, or a field, except of those in `HOW`, no value."""
    for name in values:
        if name not in fields:
            choose(what, name, fields)
    if lacking := [name for name in fields if name not in values and name not in HOW]:
        raise UserError(f"{what} lacks {', '.join(lacking)}; give each of its values")


def _epoch(pair: Pair, batch_size: int) -> int:
    """Steps once through the source; of several devices each takes `batch_size` samples a step."""
    return max(1, len(pair.source_train) // (batch_size * distributed.ranks()))
