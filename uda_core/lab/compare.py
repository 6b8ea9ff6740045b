"""`uda compare`: your own source and target through several methods, on frozen features; which one to take.

Into the folder --out go

    compare.json             what the runs were made of: data, network, recipes
    source.npz, target.npz   features of two folders of images, made once
    S-T/METHOD-seedN/        each run, a folder that `uda evaluate` takes
    compare.csv              a line a run, written as it finishes: `ROW`, and what needs no target label
    compare.html             the table, maps of the features, and what one would choose without labels
    report.md                one page to hand on: seeds, rule of choice, ceiling, whose labels were looked at
"""

import argparse
import hashlib
import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from uda_core.data import feature_files
from uda_core.data.image_folders import Images, Listing, class_names, from_folders, has_class_folders, same_classes
from uda_core.data.names import apart
from uda_core.errors import UserError
from uda_core.evaluation import evaluate, labels
from uda_core.files import write_whole
from uda_core.lab import compare_page, features, forecast, main
from uda_core.lab.bench import seeds_of
from uda_core.lab.recipe import BY_TASK, Recipe, default_for, load
from uda_core.lab.run_folder import LOCK, RunFolder
from uda_core.lab.studies import label_free
from uda_core.lab.train import train_run
from uda_core.methods import LogisticRegression
from uda_core.run import Run, RunConfig
from uda_core.task import Task

METHODS = "logistic_regression,clusters,coral,infomax,mcd,cgdm"
TEXTS = {"source": str, "target": str, "method": str}  # columns that hold text, whatever it looks like
ROW = ("source", "target", "method", "seed", "target_accuracy", "source_accuracy", "seconds")
LEAST = 3  # images of the target, and twice as many of the source that train: to measure how far they are apart


def add(commands) -> None:
    """The command `compare`."""
    about = "try several methods on your own two folders of images, or two feature files, and say which to take"
    p = main.add_command(commands, "compare", compare, about, "compare photos drawings --out runs/compare")
    p.description += (
        "\nWrites compare.csv, compare.html, report.md and a folder a run. Killed, the same command goes on."
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
    with RunFolder(out).alone():
        return _compare(args, recipes, names, out)


def _compare(args: argparse.Namespace, recipes: Mapping[str, Recipe], names: tuple[str, str], out: Path) -> int:
    """The same where no other process works."""
    source, target = domains = _domains(args, names, out)
    made_of = _same(out, args, domains, recipes)
    rows = _read(out / "compare.csv")
    ways = [(source, target), (target, source)] if args.pairs else [(source, target)]
    several = list(dict.fromkeys(seeds_of(args.seeds)))
    seeds = {name: [0] if r.method == LogisticRegression.name else several for name, r in recipes.items()}
    keys = [(s.name, t.name, name, n) for s, t in ways for name in recipes for n in seeds[name]]
    left = [key for key in keys if key not in set(rows[list(ROW[:4])].itertuples(index=False, name=None))]
    _make_features(args, domains, [recipes[name] for _, _, name, _ in left])
    RunFolder(out).write("compare.json", made_of)
    tasks = {(s.name, t.name): feature_files.load(s.file, t.file) for s, t in ways}
    files = {domain.name: str(domain.file.absolute()) for domain in domains}
    plugin = {"plugin": str(args.plugin.absolute())} if args.plugin else {}
    for n, key in enumerate(left, 1):
        s, t, name, seed = key
        print(f"{s} -> {t}, {name}, seed {seed} ({n} of {len(left)}):", file=sys.stderr)
        recipe, found = recipes[name].changed({"seed": seed}), list[dict]()
        what = {"method": recipe.method, "task": "features", "source": files[s], "target": files[t], **plugin}
        what |= {"recipe": recipe.name, "devices": 1}

        def look(run: Run, folder: RunFolder, key=key, found=found) -> None:
            result = evaluate(run, tasks[key[:2]])
            values = *key, result.score, result.source_score, round(folder.seconds, 1)
            found.append(dict(zip(ROW, values, strict=True)) | label_free(run))

        try:
            folder = _folder(out, *key)
            with folder.alone():
                if status := train_run(folder, what, recipe, 10, None, look):
                    return status
        except UserError as error:
            if not isinstance(error.__cause__, FloatingPointError):
                raise
            print(f"warning: left out, for {error.__cause__}", file=sys.stderr)
            continue
        rows = pd.concat([rows, pd.DataFrame(found)]) if len(rows) else pd.DataFrame(found)
        write_whole(out / "compare.csv", rows.to_csv(index=False, float_format="%.4f", lineterminator="\n").encode())
    words = ["--plugin", str(args.plugin)] if args.plugin else []
    network = made_of.get("network")
    return _report(out, _read(out / "compare.csv"), tasks, words, network, changed=bool(left))


def _make_features(args: argparse.Namespace, domains: tuple[Domain, Domain], left: list[Recipe]) -> None:
    """Say how long features and runs will take, then make those features that are not there yet."""
    new = [domain for domain in domains if not domain.file.exists()]
    images, seconds = sum(len(domain.listing.paths) for domain in new), 0.0
    if new:
        (net, width), how = features.backbone(args.network, features.weights_of(args.network, args.weights))
        net.to(RunConfig(device=args.device).device)
        seconds = images * forecast.of_sample(net, Images(new[0].listing.paths, how))
        y, images_t = domains[0].listing.y, len(domains[1].listing.paths)
        pair = forecast.stand_in(y, images_t, domains[0].classes, width)
    else:
        pair = feature_files.load(*(domain.file for domain in domains)).pair
    if left:
        of_run = {recipe.name: forecast.of_run(recipe, pair) for recipe in {r.name: r for r in left}.values()}
        runs = f"{len(left)} run{'s' * (len(left) > 1)}"
        parts = {"features": seconds / 60, runs: sum(of_run[recipe.name] for recipe in left) / 60}
        said = ", ".join(f"{part} {minutes:.1f}" for part, minutes in parts.items())
        print(f"about {max(1, sum(parts.values())):.0f} min on this machine ({said}), then the maps", file=sys.stderr)
    with tqdm(total=images, unit="image", disable=not new) as bar:
        for domain in new:
            features.write(domain.file, domain.folder, domain.classes, domain.listing, net, how, bar)


def _report(
    out: Path,
    rows: pd.DataFrame,
    tasks: Mapping[tuple[str, str], Task],
    plugin: list[str],
    network: str | None,
    changed: bool,
) -> int:
    """Print the tables and what to choose, and write page and report unless they are there and nothing has changed."""
    of_ways = {way: rows[(rows["source"] == way[0]) & (rows["target"] == way[1])] for way in tasks}
    if any(of_way.empty for of_way in of_ways.values()):
        raise UserError(f"{out}: no run kept finite losses; look for features that are far too large")

    def finished(way: tuple[str, str], method: str, seed: int) -> Run:
        run = _recipe(method).changed({"seed": seed}).start(tasks[way].pair)
        _folder(out, *way, method, seed).load(run)
        return run

    page, report = out / "compare.html", out / "report.md"
    if changed or not report.exists():
        write_whole(report, compare_page.report(of_ways, tasks, network).encode())
    if changed or not page.exists():
        print("drawing the maps", file=sys.stderr)
        write_whole(page, compare_page.page(of_ways, tasks, finished).encode())
    for way, of_way in of_ways.items():
        print(" -> ".join(way), compare_page.summary(of_way).to_string(index=False), sep="\n", end="\n\n")
        chosen, *why = compare_page.choice(of_way)
        print(*why, sep="\n", end="\n\n")
        words = ["uda", "evaluate", str(_folder(out, *way, *chosen).path), *plugin, "--export", "DIR"]
        print(f"predictions of that run: {shlex.join(words)}", end="\n\n")
    print(f"written to {out}: compare.csv, compare.html, report.md, and a folder for each run")
    return 0


def _recipe(name: str) -> Recipe:
    return load(name, "features") if name in BY_TASK else default_for(name, "features")


def _folder(out: Path, source: str, target: str, method: str, seed: int) -> Folder:
    return Folder(out / f"{source}-{target}" / f"{method}-seed{seed}")


# -- what is compared --------------------------------------------------------------------------------------------------


def _domains(args: argparse.Namespace, names: tuple[str, str], out: Path) -> tuple[Domain, Domain]:
    """Source and target, checked as far as they can be without making features.

    Raises:
        UserError: if one is missing, they are of two kinds, differ in their classes or are too small, or `--pairs`
            wants labels that are not there.
    """
    paths = args.source, args.target
    if missing := [path for path in paths if not path.exists()]:
        raise UserError(f"{missing[0]}: no such folder or file")
    apart(*paths)
    if args.source.is_dir() != args.target.is_dir():
        raise UserError(f"{args.source} and {args.target}: give two folders of images, or two .npz files")
    if names[0] == names[1]:
        raise UserError(f"{args.source} and {args.target} are called alike; rename one")
    if args.source.is_dir():
        classes = class_names(args.source)
        try:
            of_target = same_classes(*paths) if has_class_folders(args.target) else ()
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
        sizes, labelled = (
            [len(task.pair.source_train), len(task.pair.target_train)],
            labels(task, "target_test") is not None,
        )
    if sizes[0] < 2 * LEAST or sizes[1] < LEAST:
        raise UserError(f"{args.source} and {args.target}: {sizes[0]} and {sizes[1]} samples are too few to compare on")
    if args.pairs and not labelled:
        raise UserError(f"{args.target}: --pairs also trains on the target, which has no labels; leave --pairs out")
    return source, target


def _same(out: Path, args: argparse.Namespace, domains: tuple[Domain, ...], recipes: Mapping[str, Recipe]) -> dict:
    """What the runs in `out` are made of, for compare.json. What is there already must agree; new methods may join.

    Raises:
        UserError: if it does not agree.
    """
    now = {"source": _digest(args.source), "target": _digest(args.target)}
    now |= {"plugin": _digest(args.plugin) if args.plugin else None}
    if domains[0].folder:
        weights = features.weights_of(args.network, args.weights)
        now |= {"network": args.network, "weights": _digest(Path(weights)) if Path(weights).is_file() else weights}
    of_recipes = {name: {**r.config, **r.settings, "steps": r.steps} for name, r in recipes.items()}
    folder = RunFolder(out)
    before = folder.read("compare.json")
    if not before and any(path.name != LOCK for path in out.iterdir()):
        raise UserError(f"{out} holds other things; give another --out")
    kept, of_recipes = before.get("recipes", {}), json.loads(json.dumps(of_recipes))  # lists for tuples
    differs = [name for name in now if before and now[name] != before.get(name)]
    differs += [f"recipe of {name}" for name in of_recipes if kept.get(name, of_recipes[name]) != of_recipes[name]]
    if differs:
        raise UserError(f"{out}: its runs were made of another {differs[0]}; give another --out, or delete the folder")
    return now | {"recipes": kept | of_recipes}


def _digest(path: Path) -> str:
    """A short name for the content of a file, or for the names, sizes and times of the files in a folder."""
    if path.is_dir():
        found = ((file.relative_to(path), file.stat()) for file in path.rglob("*") if file.is_file())
        of_files = sorted((str(name), stat.st_size, stat.st_mtime_ns) for name, stat in found)
        return hashlib.sha256(repr(of_files).encode()).hexdigest()[:16]
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _read(csv: Path) -> pd.DataFrame:
    """The rows so far; none, with `ROW` as columns, where there is no file.

    Raises:
        UserError: if it is another file.
    """
    try:
        rows = pd.read_csv(csv, dtype=TEXTS, keep_default_na=False) if csv.exists() else pd.DataFrame(columns=ROW)
        numbers = rows.columns.difference(list(TEXTS))
        rows[numbers] = rows[numbers].replace("", None).apply(pd.to_numeric)
    except ValueError:
        rows = pd.DataFrame()
    if list(rows.columns[: len(ROW)]) != list(ROW):
        raise UserError(f"{csv}: not what `uda compare` wrote; delete it, and the runs are scored again")
    return rows
