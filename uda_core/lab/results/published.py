"""What the papers report, so that it can stand beside what was measured here."""

from dataclasses import dataclass

MCD = "Saito et al., CVPR 2018"
SWD = "Lee et al., CVPR 2019"
CGDM = "Du et al., CVPR 2021"
CAG = "Zhang et al., NeurIPS 2019"
QUOTED = "quoted by others: the paper's table was not at hand"


@dataclass(frozen=True)
class Published:
    """One number in percent, as printed, and the results file and row that answer it here, or why none does."""

    task: str
    method: str
    score: str
    source: str
    ours: tuple[str, str] | None = None
    not_run: str = ""


def _not_run(task: str, needs: str, *numbers: tuple[str, str, str]) -> tuple[Published, ...]:
    return tuple(Published(task, *number, not_run=f"not run: needs {needs}") for number in numbers)


def _digits(task: str, table: str, source_only: str, mcd: str, swd: str) -> tuple[Published, ...]:
    return (
        Published(task, "source only", source_only, MCD, (table, "source only")),
        Published(task, "MCD", mcd, MCD, (table, "MCD")),
        Published(task, "SWD", swd, f"{SWD}; {QUOTED}", (table, "SWD")),
        Published(task, "CGDM", "none", "the paper has no digits", (table, "CGDM (code)")),
    )


PUBLISHED = (
    *_digits("MNIST -> USPS, all images", "mnist-usps", "79.7", "96.5", "98.1"),
    *_digits("USPS -> MNIST", "usps-mnist", "63.4", "94.1", "97.1"),
    *_not_run("SVHN -> MNIST", "SVHN", ("MCD", "96.2", MCD), ("SWD", "98.9", f"{SWD}; {QUOTED}")),
    *_not_run(
        "VisDA-2017, ResNet-101, mean of the classes",
        "VisDA-2017 and a GPU",
        ("source only", "52.4", MCD),
        ("MCD", "71.9", MCD),
        ("SWD", "76.4", f"{SWD}, as in the README of lijin118/CGDM"),
        ("CGDM", "82.3", f"{CGDM}, as in the README of lijin118/CGDM"),
    ),
    *_not_run(
        "ImageCLEF-DA, ResNet-50, mean of six",
        "ImageCLEF-DA and a GPU",
        ("MCD", "85.1", f"{CGDM}; {QUOTED}"),
        ("CGDM", "89.5", f"{CGDM}; {QUOTED}"),
    ),
    *_not_run(
        "DomainNet, ResNet-50, mean of the pairs",
        "DomainNet and a GPU",
        ("MCD", "20.3", f"{CGDM}; {QUOTED}"),
        ("SWD", "23.6", f"{CGDM}; {QUOTED}"),
        ("CGDM", "27.2", f"{CGDM}; {QUOTED}"),
    ),
    *_not_run(
        "GTA5 -> Cityscapes, DeepLab v3+, mIoU",
        "both sets and a GPU",
        ("CAG-UDA", "50.2", f"{CAG}, poster; its row of 19 classes averages 50.1"),
    ),
    *_not_run(
        "SYNTHIA -> Cityscapes, DeepLab v3+, mIoU",
        "both sets and a GPU",
        ("CAG-UDA", "44.5 (16 classes)", f"{CAG}; {QUOTED}"),
        ("CAG-UDA", "52.6 (13 classes)", f"{CAG}, poster; a run of its own"),
    ),
)
