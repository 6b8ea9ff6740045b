"""What `--set` takes: the settings of each method, and the fields of its configuration, by name and in words."""

import dataclasses
from collections.abc import Iterable

from uda_core.data.catalog import Entry
from uda_core.errors import UserError, choose
from uda_core.methods import Config, SegmentationConfig
from uda_core.methods.cag import CAGSettings
from uda_core.methods.cgdm import CGDMSettings
from uda_core.methods.mcd import MCDSettings
from uda_core.methods.output_adversarial import OutputAdversarialSettings
from uda_core.methods.segmentation import SegmentationSettings
from uda_core.methods.source_only import SourceOnlySettings
from uda_core.methods.swd import SWDSettings

CLASSIFY = {"source_only": SourceOnlySettings, "mcd": MCDSettings, "swd": SWDSettings, "cgdm": CGDMSettings}
SEGMENT = {"source_only": SegmentationSettings, "output_adversarial": OutputAdversarialSettings, "cag": CAGSettings}
OWN = {
    "cgdm": {"variant", "fast"},
    "cag": {"warm_up", "labels", "distance_loss", "anchor_weighting", "margin_unit", "stage_decay_steps"},
}
CONFIG_HELP = {
    "seed": "the same as --seed",
    "batch_size": "samples per domain and step",
    "device": "cpu, cuda or cuda:1",
    "precision": "of the network, not of what compares (heads, losses, distances): fp32 or bf16",
    "weights": "that a large network starts from; the same as --weights",
}
CLASSIFY_HELP = {
    "variant": "cgdm only: code (the authors' repository, mended) or paper (its formulas; entropy 0)",
    "network": "small, linear (for frozen features), mcd_digits, mcd_colour_digits, resnet18, resnet50, resnet101 or "
    "efficientnet_lite0",
    "features": "width of the feature vector; 0: the network's own",
    "hidden": "widths of the heads' hidden layers, such as 64,64",
    "dropout": "in the heads, from 0 to below 1",
    "batches": "joint (source and target share each batch and its statistics) or apart",
    "optimizer": "adam, or sgd (momentum 0.9 for the heads, none for the features)",
    "weight_decay": "of every parameter",
    "fast": "cgdm only: true for the gradient discrepancy in closed form, faster, equal but for rounding",
}
SEGMENT_HELP = {
    "network": "small, efficientnet_lite0, deeplab_v2_resnet50, deeplab_v3plus_resnet101 ...",
    "features": "width of the feature vector; 0: the network's own",
    "batch_norm": "statistics: per-domain (ours) or shared (the authors')",
    "jitter": "photometric (ours), of the student's images: none, source, target or both",
    "optimizer": "adamw, or sgd with momentum 0.9 and weight decay 2e-4",
    "decay_steps": "learning rates fall as (1 - step / decay_steps)^0.9 before the stages; 0: they stay",
    "stage_decay_steps": "cag only: the same in each stage, from its beginning",
    "warm_up": "cag only: none, target-statistics or adversarial",
    "labels": "cag only: cross-entropy on labels by anchors, by confidence, or both",
    "distance_loss": "cag only: code, class-mean or pixel",
    "anchor_weighting": "cag only: image (mean over images of their class means) or pixel",
    "margin_unit": "cag only: ratio (of the median distance between anchors) or absolute",
}


def settings_of(method: str, dense: bool = False) -> dict[str, dataclasses.Field]:
    """The settings of a method, by name, on tasks that label pixels or on others."""
    return {f.name: f for f in dataclasses.fields((SEGMENT if dense else CLASSIFY)[method])}


def config_of(method: str, dense: bool = False) -> dict[str, dataclasses.Field]:
    """The fields of a method's configuration, by name."""
    others = set().union(*(names for owner, names in OWN.items() if owner != method))
    fields = dataclasses.fields(SegmentationConfig if dense else Config)
    return {f.name: f for f in fields if f.name not in others}


def of_task(entry: Entry, method: str) -> tuple[dict, dict]:
    """What a task asks for in place of the defaults, of what this method has: configuration and settings."""
    config, settings = config_of(method, entry.dense), settings_of(method, entry.dense)
    return (
        {name: value for name, value in entry.config.items() if name in config},
        {name: value for name, value in entry.settings.items() if name in settings},
    )


def parse(pairs: Iterable[str], method: str, dense: bool = False) -> tuple[dict, dict]:
    """`name=value` texts as two dicts: values for the configuration, values for the method's settings."""
    config, settings, fields = {}, {}, config_of(method, dense)
    known = [*settings_of(method, dense), *fields]
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise UserError(f"--set takes name=value, got {pair!r}")
        if choose("setting", name, known) in fields:
            config[name] = _config_value(fields[name], text)
        else:
            settings[name] = _number_or_text(text)  # Settings itself refuses what is no number
    return config, settings


def _config_value(field: dataclasses.Field, text: str) -> object:
    """`text` as the type that the configuration declares."""
    try:
        if field.type is bool:
            return {"true": True, "false": False}[text.lower()]
        if field.type in (int, float, str):
            return field.type(text)
        return tuple(int(width) for width in text.split(","))  # hidden: tuple[int, ...]
    except (ValueError, KeyError):
        kinds = {int: "a whole number", float: "a number", bool: "true or false"}
        kind = kinds.get(field.type, "widths such as 64,64")
        raise UserError(f"setting {field.name} must be {kind}, got {text!r}") from None


def _number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def describe() -> str:
    """Every name, a line each, with its default and range."""
    lines = []
    for title, methods, config, words in (
        ("on tasks whose samples have labels", CLASSIFY, Config, CLASSIFY_HELP),
        ("on tasks whose pixels have labels", SEGMENT, SegmentationConfig, SEGMENT_HELP),
    ):
        lines.append(f"{title}:")
        for method in methods:
            lines.append(f"  {method}")
            lines += [_describe(f) for f in settings_of(method, methods is SEGMENT).values()]
        lines.append("  the run itself, fixed from the first step on")
        words = CONFIG_HELP | words
        lines += [f"    {f.name:27} {words[f.name]} ({_shown(f.default)})" for f in dataclasses.fields(config)]
    return "\n".join(lines)


def _describe(f: dataclasses.Field) -> str:
    m = f.metadata
    unit = f" {m['unit']}" if m["unit"] else ""
    return f"    {f.name:27} {m['help']} ({f.default:g}{unit}, {m['low']:g} to {m['high']:g})"


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()
