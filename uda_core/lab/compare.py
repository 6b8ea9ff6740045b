"""`uda compare`: your own source and target through several methods, on frozen features; which one to take.

Into the folder --out go

    compare.json             what the runs were made of: data, network, recipes
    source.npz, target.npz   features of two folders of images, made once
    S-T/METHOD-seedN/        each run, a folder that `uda evaluate` takes
    compare.csv              a line a run, written as it finishes: `ROW`, and what needs no target label
    compare.html             the table, maps of the features, and what one would choose without labels

Killed at any moment, the same command goes on where it was.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from uda_core.checkpoints import write_whole
from uda_core.data import feature_files
from uda_core.data.image_folders import Images, Listing, Preprocessing, class_names, from_folders, same_classes
from uda_core.errors import UserError
from uda_core.evaluation import evaluate
from uda_core.lab import compare_page, features, main
from uda_core.lab.bench import seeds_of
from uda_core.lab.recipe import BY_TASK, Recipe, default_for, load
from uda_core.lab.run_folder import RunFolder
from uda_core.lab.studies import label_free
from uda_core.lab.train import train_run
from uda_core.methods import LogisticRegression
from uda_core.run import Run, RunConfig
from uda_core.samples import Labelled, Unlabelled
from uda_core.task import Pair, Task

METHODS = "logistic_regression,clusters,coral,infomax,mcd,cgdm"
ROW = ("source", "target", "method", "seed", "target_accuracy", "source_accuracy", "seconds")
TIMED = 3  # steps of each method, and twice as many images, to estimate how long the rest takes
LEAST = 3  # images of the target, and twice as many of the source that train: to measure how far they are apart


def add(commands) -> None:
    """The command `compare`."""
    about = "try several methods on your own two folders of images, or two feature files, and say which to take"
    p = main.add_command(commands, "compare", compare, about, "compare photos drawings --out runs/compare")
    p.description += (
        "\nOf folders it first makes frozen features; a target without class folders is one without labels. Writes\n"
        "compare.csv (a line a run), compare.html (table, maps, and a choice made without labels) and a folder a run.\n"
        "Killed, the same command goes on."
    )
    p.add_argument("source", type=Path, metavar="SOURCE", help="a folder per class, or an .npz file of features")
    p.add_argument("target", type=Path, metavar="TARGET", help="the same of the target, or a folder of images alone")
    about = f"of `uda train METHOD features`, or {', '.join(BY_TASK)}, with commas (default: {METHODS})"
    p.add_argument("--methods", default=METHODS, metavar="A,B", help=about)
    p.add_argument("--seeds", default="0,1,2", metavar="A-B", help="a range, or a list (default: 0,1,2)")
    p.add_argument("--pairs", action="store_true", help="also the way back, from the target to the source")
    features.add_network(p)
    p.add_argument("--out", type=Path, metavar="DIR", help="folder to write (default: runs/compare-SOURCE-TARGET)")


@dataclass(frozen=True)
class Domain:
    """One of the two: the file of its features, and of a folder also what these are made of."""

    name: str
    file: Path
    folder: Path | None = None
    classes: tuple[str, ...] = ()  # of a folder; none: without labels
    listing: Listing | None = None


@dataclass(frozen=True)
class Key:
    """Which run of a comparison."""

    source: str
    target: str
    method: str
    seed: int

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}, {self.method}, seed {self.seed}"


class Folder(RunFolder):
    """The folder of one of the runs."""

    def resume_command(self) -> str:
        """What goes on with the run."""
        return "the same command"


def compare(args: argparse.Namespace) -> int:
    """Make what is not there yet of features, runs and page; the exit status.

    Raises:
        UserError: for data, options or an --out that do not fit, or if no run kept finite losses.
    """
    recipes = {name: _recipe(name).changed({"device": args.device}) for name in dict.fromkeys(args.methods.split(","))}
    names = main.names_of(args.source, args.target)
    out = args.out or Path("runs", f"compare-{'-'.join(names)}")
    source, target = domains = _domains(args, names, out)
    _same(out, args, domains, recipes)
    rows = _read(out / "compare.csv")
    ways = [(source, target), (target, source)] if args.pairs else [(source, target)]
    seeds = {name: [0] if r.method == LogisticRegression.name else seeds_of(args.seeds) for name, r in recipes.items()}
    keys = [Key(s.name, t.name, name, n) for s, t in ways for name in recipes for n in seeds[name]]
    left = [key for key in keys if astuple(key) not in set(rows[list(ROW[:4])].itertuples(index=False, name=None))]
    if new := [domain for domain in domains if not domain.file.exists()]:
        (net, width), how = features.backbone(args.network, features.weights_of(args.network, args.weights))
        net.to(RunConfig(device=args.device).device)
        images, of_image = sum(len(domain.listing.paths) for domain in new), _of_image(net, how, new[0].listing)
    pair = _stand_in(domains, width) if new else feature_files.load(source.file, target.file).pair
    if left:
        of_run = {name: _of_run(recipe, pair) for name, recipe in recipes.items()}
        minutes = [images * of_image / 60 if new else 0.0, sum(of_run[key.method] for key in left) / 60]
        parts = f"features {minutes[0]:.1f}, {len(left)} runs {minutes[1]:.1f}"
        print(f"about {max(1, sum(minutes)):.0f} minutes on this machine ({parts})", file=sys.stderr)
    if new:
        with tqdm(total=images, unit="image") as bar:
            for domain in new:
                features.write(domain.file, domain.folder, domain.classes, domain.listing, net, how, bar)
    tasks = {(s.name, t.name): feature_files.load(s.file, t.file) for s, t in ways}
    files = {domain.name: str(domain.file.absolute()) for domain in domains}
    plugin = {"plugin": str(args.plugin.absolute())} if args.plugin else {}
    for n, key in enumerate(left, 1):
        print(f"{key} ({n} of {len(left)}):", file=sys.stderr)
        recipe, found = recipes[key.method].changed({"seed": key.seed}), list[dict]()
        what = {"method": recipe.method, "task": "features", "source": files[key.source], "target": files[key.target]}

        def look(run: Run, folder: RunFolder, key=key, found=found) -> None:
            result = evaluate(run, tasks[key.source, key.target])
            scores = result.score, result.source_score, round(folder.seconds, 1)
            found.append(asdict(key) | dict(zip(ROW[4:], scores, strict=True)) | label_free(run))

        try:
            what |= plugin | {"recipe": recipe.name, "devices": 1}
            if status := train_run(_folder(out, key), what, recipe, 10, None, look):
                return status
        except UserError as error:
            if not isinstance(error.__cause__, FloatingPointError):
                raise
            print(f"warning: {key} is left out: {error.__cause__}", file=sys.stderr)
            continue
        rows = pd.concat([rows, pd.DataFrame(found)]) if len(rows) else pd.DataFrame(found)
        write_whole(out / "compare.csv", rows.to_csv(index=False, float_format="%.4f", lineterminator="\n").encode())
    return _report(out, _read(out / "compare.csv"), tasks, changed=bool(left))


def _report(out: Path, rows: pd.DataFrame, tasks: Mapping[tuple[str, str], Task], changed: bool) -> int:
    """Print the tables and what to choose, and write the page unless it is there and nothing has changed."""
    of_ways = {way: rows[(rows["source"] == way[0]) & (rows["target"] == way[1])] for way in tasks}
    if any(of_way.empty for of_way in of_ways.values()):
        raise UserError(f"{out}: no run kept finite losses; look for features that are far too large")

    def finished(way: tuple[str, str], method: str, seed: int) -> Run:
        run = _recipe(method).changed({"seed": seed}).start(tasks[way].pair)
        _folder(out, Key(*way, method, seed)).load(run)
        return run

    page = out / "compare.html"
    if changed or not page.exists():
        print("drawing the maps", file=sys.stderr)
        write_whole(page, compare_page.page(of_ways, tasks, finished).encode())
    for way, of_way in of_ways.items():
        print(" -> ".join(way), compare_page.summary(of_way).to_string(index=False), sep="\n", end="\n\n")
        chosen, *why = compare_page.choice(of_way)
        print(*why, sep="\n", end="\n\n")
        print(f"predictions of that run: uda evaluate {_folder(out, Key(*way, *chosen)).path} --export DIR", end="\n\n")
    print(f"written to {out}: compare.csv, compare.html, and a folder for each run")
    return 0


def _recipe(name: str) -> Recipe:
    return load(name, "features") if name in BY_TASK else default_for(name, "features")


def _folder(out: Path, key: Key) -> Folder:
    return Folder(out / f"{key.source}-{key.target}" / f"{key.method}-seed{key.seed}")


# -- what is compared --------------------------------------------------------------------------------------------------


def _domains(args: argparse.Namespace, names: tuple[str, str], out: Path) -> tuple[Domain, Domain]:
    """Source and target, checked as far as they can be without making features.

    Raises:
        UserError: if one is missing, they are of two kinds, differ in their classes or are too small, or `--pairs`
            wants labels that are not there.
    """
    paths = args.source, args.target
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: no such folder or file")
    if args.source.is_dir() != args.target.is_dir():
        raise UserError(f"{args.source} and {args.target}: give two folders of images, or two .npz files")
    if names[0] == names[1]:
        raise UserError(f"{args.source} and {args.target} are called alike; rename one")
    if args.source.is_dir():
        classes = class_names(args.source)
        there = [path for path in args.target.iterdir() if path.is_dir() and not path.name.startswith(".")]
        try:
            of_target = same_classes(*paths) if there else ()
        except UserError as error:
            mend = f"uda features {args.target} --unlabelled, and compare two files"
            raise UserError(f"{error}; if it has no labels: {mend}") from error
        source = Domain(names[0], out / "source.npz", args.source, classes, from_folders(args.source, classes))
        listing = from_folders(args.target, of_target or ["."])
        target = Domain(names[1], out / "target.npz", args.target, of_target, listing)
        sizes, labelled = [len(domain.listing.paths) for domain in (source, target)], bool(of_target)
    else:
        source, target = (Domain(name, path) for name, path in zip(names, paths, strict=True))
        task = feature_files.load(*paths)
        sizes, labelled = [len(task.pair.source_train), len(task.pair.target_train)], task.truth is not None
    if sizes[0] < 2 * LEAST or sizes[1] < LEAST:
        raise UserError(f"{args.source} and {args.target}: {sizes[0]} and {sizes[1]} samples are too few to compare on")
    if args.pairs and not labelled:
        raise UserError(f"{args.target}: --pairs also trains on the target, which has no labels; leave --pairs out")
    return source, target


def _same(out: Path, args: argparse.Namespace, domains: tuple[Domain, ...], recipes: Mapping[str, Recipe]) -> None:
    """Write down what the runs in `out` are made of. What is there already must agree; new methods may join.

    Raises:
        UserError: if it does not agree.
    """
    of_folders = domains[0].folder is not None
    weights = features.weights_of(args.network, args.weights) if of_folders else None
    now = {domain: _digest(getattr(args, domain)) for domain in ("source", "target")}
    now |= {"network": args.network if of_folders else None}
    now |= {"weights": _digest(Path(weights)) if of_folders and Path(weights).is_file() else weights}
    now |= {"plugin": _digest(args.plugin) if args.plugin else None}
    of_recipes = {name: {**r.config, **r.settings, "steps": r.steps} for name, r in recipes.items()}
    folder = RunFolder(out)
    before = folder.read("compare.json")
    if not before and out.exists() and any(out.iterdir()):
        raise UserError(f"{out} holds other things; give another --out")
    kept = before.get("recipes", {})
    differs = [name for name, value in now.items() if before and value != before.get(name)]
    differs += [
        f"recipe of {n}" for n, values in of_recipes.items() if n in kept and kept[n] != json.loads(json.dumps(values))
    ]
    if differs:
        raise UserError(f"{out}: its runs were made of another {differs[0]}; give another --out, or delete the folder")
    folder.write("compare.json", now | {"recipes": kept | of_recipes})


def _digest(path: Path) -> str:
    """A short name for the content of a file, or for the names, sizes and times of the files in a folder."""
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.is_file())
        of_files = [(str(file.relative_to(path)), file.stat().st_size, file.stat().st_mtime_ns) for file in found]
        return hashlib.sha256(repr(of_files).encode()).hexdigest()[:16]
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _read(csv: Path) -> pd.DataFrame:
    """The rows so far; none, with `ROW` as columns, where there is no file.

    Raises:
        UserError: if it is another file.
    """
    try:
        rows = pd.read_csv(csv, dtype={"source": str, "target": str}) if csv.exists() else pd.DataFrame(columns=ROW)
    except ValueError:
        rows = pd.DataFrame()
    if list(rows.columns[: len(ROW)]) != list(ROW):
        raise UserError(f"{csv}: not what `uda compare` wrote; delete it, and the runs are scored again")
    return rows


# -- how long it takes -------------------------------------------------------------------------------------------------


def _stand_in(domains: tuple[Domain, Domain], width: int) -> Pair:
    """Random numbers in place of the features that are not there yet: steps take as long on them."""
    x_s, x_t = (torch.randn(len(domain.listing.paths), width) for domain in domains)
    source, target = Labelled(x_s, domains[0].listing.y), Unlabelled(x_t)
    return Pair("stand-in", domains[0].classes, source, source, target, target)


def _of_image(net: nn.Module, how: Preprocessing, listing: Listing) -> float:
    """Seconds for an image, read and put through the network."""
    x, device = Images(listing.paths[: 2 * TIMED], how), next(net.parameters()).device
    with torch.no_grad():
        net(x[torch.tensor([0])].to(device))
        started = time.perf_counter()
        net(x[torch.arange(len(x))].to(device)).cpu()
    return (time.perf_counter() - started) / len(x)


def _of_run(recipe: Recipe, pair: Pair) -> float:
    """Seconds for a run and its numbers; of a method that is one step, for the numbers alone."""
    run = recipe.start(pair)
    steps = recipe.length(run)
    if steps > TIMED:
        run.step()
        started = time.perf_counter()
        for _ in range(TIMED):
            run.step()
        return (time.perf_counter() - started) / TIMED * steps
    return 0.0
