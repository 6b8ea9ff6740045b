"""What `--set` takes: the settings of each method, and the fields of `Config`, by name and in words."""

import dataclasses
from collections.abc import Iterable

from uda_core.errors import UserError, choose
from uda_core.methods import Config
from uda_core.methods.cgdm import CGDMSettings
from uda_core.methods.mcd import MCDSettings
from uda_core.methods.source_only import SourceOnlySettings
from uda_core.methods.swd import SWDSettings

SETTINGS = {"source_only": SourceOnlySettings, "mcd": MCDSettings, "swd": SWDSettings, "cgdm": CGDMSettings}
CONFIG = {f.name: f for f in dataclasses.fields(Config)}
CGDM_ONLY = {"variant", "fast"}
CONFIG_HELP = {
    "seed": "the same as --seed",
    "variant": "cgdm only: code (the authors' repository, mended) or paper (its formulas; entropy 0)",
    "batch_size": "samples per domain and step",
    "features": "width of the feature vector",
    "hidden": "widths of the heads' hidden layers, such as 64,64",
    "dropout": "in the heads, from 0 to below 1",
    "device": "cpu, cuda or cuda:1",
    "precision": "of the feature extractor: fp32 or bf16",
    "fast": "cgdm only: true for the gradient discrepancy in closed form, faster, equal but for rounding",
}


def parse(pairs: Iterable[str], method: str) -> tuple[dict, dict]:
    """`name=value` texts as two dicts: values for `Config`, values for the method's settings."""
    config, settings = {}, {}
    known = [f.name for f in dataclasses.fields(SETTINGS[method])]
    known += [name for name in CONFIG if method == "cgdm" or name not in CGDM_ONLY]
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise UserError(f"--set takes name=value, got {pair!r}")
        if choose("setting", name, known) in CONFIG:
            config[name] = _config_value(name, text)
        else:
            settings[name] = _number_or_text(text)  # Settings itself refuses what is no number
    return config, settings


def _config_value(name: str, text: str) -> object:
    """`text` as the type that `Config` declares for `name`."""
    kind = CONFIG[name].type
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if kind in (int, float, str):
            return kind(text)
        return tuple(int(width) for width in text.split(","))  # hidden: tuple[int, ...]
    except (ValueError, KeyError):
        kinds = {int: "a whole number", float: "a number", bool: "true or false"}
        raise UserError(f"setting {name} must be {kinds.get(kind, 'widths such as 64,64')}, got {text!r}") from None


def _number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def describe() -> str:
    """Every name, a line each, with its default and range."""
    lines = []
    for method, settings in SETTINGS.items():
        lines.append(f"  {method}")
        for f in dataclasses.fields(settings):
            m = f.metadata
            unit = f" {m['unit']}" if m["unit"] else ""
            lines.append(f"    {f.name:16} {m['help']} ({f.default:g}{unit}, {m['low']:g} to {m['high']:g})")
    lines.append("  the run itself, fixed from the first step on")
    lines += [f"    {name:16} {CONFIG_HELP[name]} ({_shown(f.default)})" for name, f in CONFIG.items()]
    return "\n".join(lines)


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()
