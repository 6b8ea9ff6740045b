"""The published configurations: every value with the place where it stands, and what is not known.

`python -m uda_core presets` prints them; `train METHOD TASK --preset NAME` trains with one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from uda_core.data.catalog import DEEPLAB, DEEPLAB_SETTINGS
from uda_core.errors import UserError, choose
from uda_core.task import Pair

EPOCH = "epoch"  # in place of a number of steps: once through the source


@dataclass(frozen=True)
class Value:
    """A value, and the file or paper that it is from; "unknown" where nobody has told it, and what stands in."""

    value: object
    source: str


@dataclass(frozen=True)
class Preset:
    """One published configuration."""

    about: str
    method: str
    tasks: tuple[str, ...]  # by name, or by the beginning of their names
    config: Mapping[str, Value]
    settings: Mapping[str, Value]
    steps: Value | None = None
    epochs: Value | None = None  # in place of steps
    departures: tuple[str, ...] = ()  # where this kit does otherwise than the published code

    def check(self, method: str, task: str) -> None:
        """
        Raises:
            UserError: if it was published for another method or other tasks.
        """
        if method != self.method or not task.startswith(self.tasks):
            tasks = " or ".join(f"{name}..." if name.endswith(":") else name for name in self.tasks)
            raise UserError(f"this preset is for {self.method} on {tasks}, not for {method} on {task}")

    def resolve(self, pair: Pair, batch_size: int) -> tuple[dict, int | None]:
        """Settings and number of steps for this pair: what counts in epochs, in steps of so many source samples."""
        epoch = max(1, len(pair.source_train) // batch_size)
        settings = {name: epoch if v.value == EPOCH else v.value for name, v in self.settings.items()}
        return settings, self.steps.value if self.steps else self.epochs.value * epoch if self.epochs else None


CGDM = "lijin118/CGDM 012d631"
MCD = "mil-tokyo/MCD_DA af10217"
CAG = "RogerZhangzz/CAG_UDA 422f99e"
FAST = "ours: the gradient discrepancy in closed form and a forward less, equal but for rounding"
UNKNOWN = "unknown; MCD's value stands in"
CLEAN = (  # where images are photographs
    "Heads start as torch starts them, not with N(0, 0.01).",
    "Pseudo-labels, where there are any, and scores come from images that are not augmented.",
)


def _cgdm(script: str, network: str, settings: dict[str, object], epochs: int, variant: str) -> dict:
    """What the three scripts of CGDM share, and what each has of its own."""
    code = f"{CGDM}, {script}"
    paper = variant == "paper"
    seen = "unknown in the paper; the code's value stands in" if paper else code
    alpha = settings["alpha"] if paper else settings["alpha"] / 32
    alpha_source = (
        seen if paper else f"{code}: {settings['alpha']:g}, divided by 32 since the loss is normalised once here"
    )
    weights = f"ResNet{network.removeprefix('resnet')}_Weights.IMAGENET1K_V1"
    return {
        "config": {
            "variant": Value(variant, "Du et al., CVPR 2021" if paper else code),
            "network": Value(network, seen),
            "weights": Value(weights, f"{CGDM}, models/basenet.py: torchvision's of that time"),
            "features": Value(256, f"{CGDM}, models/basenet.py"),
            "hidden": Value((1000, 1000), f"{CGDM}, models/basenet.py"),
            "dropout": Value(0.5, f"{CGDM}, models/basenet.py"),
            "optimizer": Value("sgd", seen),
            "weight_decay": Value(5e-4, seen),
            "batch_size": Value(32, seen),
            "batches": Value("joint", seen),
            "fast": Value(not paper, "the paper's single cosine has no closed form here" if paper else FAST),
        },
        "settings": {
            "learning_rate": Value(settings["learning_rate"], seen),
            "discrepancy": Value(1.0, seen),
            "entropy": Value(0.0, "the paper has no such term") if paper else Value(settings["entropy"], code),
            "alpha": Value(alpha, alpha_source),
            "beta": Value(0.01, seen),
            "k": Value(4, seen),
            "refresh": Value(settings["refresh"], seen),
        },
        "epochs": Value(epochs + 1, f"{code}: {epochs}, and its loop runs one more"),
        "method": "cgdm",
        "departures": (
            *CLEAN,
            "The layer behind the backbone trains (on VisDA and DomainNet their optimiser leaves it out).",
            "DomainNet's published lists say what trains and what tests (their script takes whole folders for both).",
            "An empty cluster keeps its soft centroid (theirs turns every label into one class).",
            "The first pseudo-labels come after `refresh` steps (theirs: with the second epoch, on ImageCLEF at once).",
        ),
    }


VISDA = {"learning_rate": 3e-4, "entropy": 0.01, "alpha": 0.01, "refresh": 2000}
IMAGECLEF = {"learning_rate": 1e-3, "entropy": 0.1, "alpha": 0.1, "refresh": EPOCH}
DOMAINNET = {"learning_rate": 1e-3, "entropy": 0.1, "alpha": 0.01, "refresh": EPOCH}
cgdm_visda = partial(_cgdm, "train_visda.py", "resnet101", VISDA, 20)
cgdm_imageclef = partial(_cgdm, "train_image_clef.py", "resnet50", IMAGECLEF, 200)
cgdm_domainnet = partial(_cgdm, "train_domainnet.py", "resnet50", DOMAINNET, 200)


def _discrepancy(method: str, config: dict[str, Value], learning_rate: Value, k: Value) -> dict:
    """What MCD and SWD share: SWD's code for images was never released."""
    of_swd = method == "swd"
    weight = Value(1.0, "apple/ml-cvpr2019-swd 58acb02, its demo in the plane" if of_swd else MCD)
    settings = {"learning_rate": learning_rate, "discrepancy": weight, "k": k}
    if of_swd:
        keep = ("network", "features", "hidden", "weights")
        config = {n: v if n in keep else Value(v.value, UNKNOWN) for n, v in config.items()}
        settings = {n: v if n == "discrepancy" else Value(v.value, UNKNOWN) for n, v in settings.items()}
        settings["k"] = Value(k.value, f"{UNKNOWN} (SWD's demo in the plane takes 1)")
    return {"method": method, "config": config, "settings": settings}


def _digits(method: str, network: str, hidden: tuple[int, ...], dropout: float, *departures: str) -> dict:
    file, solver = f"{MCD}, classification/model", f"{MCD}, classification/solver.py"
    config = {
        "network": Value(network, file),
        "features": Value(0, file),
        "hidden": Value(hidden, file),
        "dropout": Value(dropout, file),
        "optimizer": Value("adam", solver),
        "weight_decay": Value(5e-4, solver),
        "batch_size": Value(128, f"{MCD}, classification/main.py"),
        "batches": Value("apart", solver),
    }
    steps = Value(20_000, UNKNOWN if method == "swd" else f"{MCD}, classification/main.py")
    main = f"{MCD}, classification/main.py"
    return _discrepancy(method, config, Value(2e-4, main), Value(4, main)) | {
        "steps": steps,
        "departures": (
            *departures,
            "Steps A and C pass both domains, which moves batch-norm statistics (MCD: A the source, C the target).",
        ),
    }


def _visda(method: str) -> dict:
    code = f"{MCD}, visda_classification/res_train_main.py"
    config = {
        "network": Value("resnet101", code),
        "weights": Value("ResNet101_Weights.IMAGENET1K_V1", f"{code}: torchvision's of that time"),
        "features": Value(0, f"{MCD}, visda_classification/basenet.py"),
        "hidden": Value((1000, 1000), f"{MCD}, visda_classification/basenet.py"),
        "dropout": Value(0.5, f"{MCD}, visda_classification/basenet.py"),
        "optimizer": Value("sgd", code),
        "weight_decay": Value(5e-4, code),
        "batch_size": Value(32, code),
        "batches": Value("joint", code),
    }
    steps = Value(51 * 938, UNKNOWN if method == "swd" else f"{code}: 51 rounds of 938 batches")
    return _discrepancy(method, config, Value(1e-3, code), Value(4, code)) | {
        "steps": steps,
        "departures": (
            *CLEAN,
            "Without MCD's class-balance term (weight 0.01).",
            "Images are resized to 256x256; MCD keeps their aspect.",
        ),
    }


def _cag() -> dict:
    config_file, step = f"{CAG}, configs/adaptation_from_gta_to_city.yml", f"{CAG}, models/adaptation_model.py"
    ours = "the setting of this kit that comes nearest to the code"
    warm_up = "unknown: the warm-up was not released; AdaptSegNet's value stands in"
    sources = {
        "network": config_file, "batch_size": config_file, "optimizer": config_file, "margin_unit": step,
        "batch_norm": ours, "jitter": "none in the code", "warm_up": "Zhang et al., NeurIPS 2019: adversarial",
        "labels": step, "distance_loss": step, "anchor_weighting": step,
        "decay_steps": warm_up, "stage_decay_steps": f"{CAG}, schedulers.py: poly, power 0.9",
        "learning_rate": warm_up, "warm_up_steps": warm_up, "source_steps": "no phase of its own in the warm-up",
        "adversarial": warm_up, "discriminator_learning_rate": warm_up,
        "stage_learning_rate": config_file, "margin": step, "stage_steps": f"{config_file}: 84 epochs of 743 batches",
        "confidence": step, "distance": config_file, "stages": f"{CAG}, README: a checkpoint of each",
    }  # fmt: skip
    config = DEEPLAB | {"labels": "both", "distance_loss": "code", "anchor_weighting": "image"}
    settings = DEEPLAB_SETTINGS | {
        "adversarial": 0.01, "discriminator_learning_rate": 1e-4, "confidence": 0.95, "distance": 0.7, "stages": 3,
    }  # fmt: skip
    weights = Value("ResNet101_Weights.IMAGENET1K_V1", "torchvision's of that time")
    return {
        "method": "cag",
        "config": {name: Value(v, sources[name]) for name, v in config.items()} | {"weights": weights},
        "settings": {name: Value(v, sources[name]) for name, v in settings.items()},
        "departures": (
            "The last step is scored; the authors keep the checkpoint that is best on labelled target images.",
            "Pretrained weights get images normalised as they were trained; the authors' get them in [0, 1].",
            "In the warm-up all layers learn at one rate, with weight decay 2e-4 (AdaptSegNet: the classifier at ten "
            "times that rate, 5e-4).",
        ),
    }


DIGITS = ("mnist-usps", "usps-mnist")
DIGITS_DEPARTURES = (
    "The heads have no dropout before their last layer (MCD's have).",
    "All images train; MCD takes 55,000 of MNIST's and 6,562 of USPS's.",
)
PRESETS = {
    "cgdm-visda": Preset("CGDM on VisDA-2017, as in the code", tasks=("visda2017",), **cgdm_visda("code")),
    "cgdm-visda-paper": Preset("CGDM on VisDA-2017, by the formulas", tasks=("visda2017",), **cgdm_visda("paper")),
    "cgdm-imageclef": Preset("CGDM on ImageCLEF-DA, as in the code", tasks=("imageclef:",), **cgdm_imageclef("code")),
    "cgdm-imageclef-paper": Preset(
        "CGDM on ImageCLEF-DA, by the formulas", tasks=("imageclef:",), **cgdm_imageclef("paper")
    ),
    "cgdm-domainnet": Preset("CGDM on DomainNet, as in the code", tasks=("domainnet:",), **cgdm_domainnet("code")),
    "cgdm-domainnet-paper": Preset(
        "CGDM on DomainNet, by the formulas", tasks=("domainnet:",), **cgdm_domainnet("paper")
    ),
    "mcd-digits": Preset(
        "MCD on MNIST and USPS",
        tasks=DIGITS,
        **_digits("mcd", "mcd_digits", (100, 100), 0.5, *DIGITS_DEPARTURES),
    ),
    "mcd-svhn": Preset(
        "MCD on SVHN -> MNIST",
        tasks=("svhn-mnist",),
        **_digits("mcd", "mcd_colour_digits", (2048,), 0.0, "All images train; MCD takes 55,000 of MNIST's."),
    ),
    "mcd-visda": Preset("MCD on VisDA-2017", tasks=("visda2017",), **_visda("mcd")),
    "swd-digits": Preset(
        "SWD on MNIST and USPS",
        tasks=DIGITS,
        **_digits("swd", "mcd_digits", (100, 100), 0.5, *DIGITS_DEPARTURES),
    ),
    "swd-visda": Preset("SWD on VisDA-2017", tasks=("visda2017",), **_visda("swd")),
    "cag-gta5": Preset("CAG-UDA on GTA5 -> Cityscapes, three stages", tasks=("gta5-cityscapes",), **_cag()),
}


def preset(name: str) -> Preset:
    """The preset of this name."""
    return PRESETS[choose("preset", name, PRESETS)]


def describe(name: str) -> str:
    """Every value of a preset with its source, then where this kit departs from the published code."""
    told = preset(name)
    values = {**told.config, **told.settings}
    for length in ("steps", "epochs"):
        if getattr(told, length):
            values[length] = getattr(told, length)
    tasks = " | ".join(f"{task}S-T" if task.endswith(":") else task for task in told.tasks)
    lines = [f"{name}: {told.about}", f"  train {told.method} {tasks} --preset {name}"]
    lines += [f"  {key:27} {_shown(v.value):34} {v.source}" for key, v in values.items()]
    return "\n".join([*lines, *(f"  otherwise: {departure}" for departure in told.departures)])


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
