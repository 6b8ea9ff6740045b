"""A run that is killed, interrupted, out of disk or out of numbers goes on as if nothing had happened.

Children are forked by a server that has imported everything already, so that killing one costs little.
"""

import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import time
from contextlib import contextmanager

import pytest
import torch

from uda_core.data.streets import streets
from uda_core.lab import main as cli
from uda_core.lab import train

needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL, no fork")
CGDM = [
    "cgdm",
    "moons",
    "--steps",
    "60",
    "--seed",
    "3",
    "--set",
    "refresh=7",
    "batch_size=16",
    "hidden=16",
    "features=8",
]
CAG = ["cag", "streets", "--set", "source_steps=5", "stage_steps=6", "stages=2", "batch_size=4"]
SLOW_TO_IMPORT = [
    "uda_core.lab.main",
    "uda_core.lab.train",
    "uda_core.models.segmenters",
    "sklearn.datasets",
    "torch._dynamo",
]
EVERY_STEP = ["--checkpoint-minutes", "0"]


def child(words, prepare=None):
    """A process, started, that runs `train` on words; `prepare` is called in it first."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(SLOW_TO_IMPORT)
    process = context.Process(target=run_child, args=([str(word) for word in words], prepare))
    process.start()
    return process


def run_child(words, prepare):
    torch.set_num_threads(1)
    os.fsync = lambda _: None  # slow, and needless here: what the kernel has, a kill does not undo
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115
    cli.load = lambda name, *_: tiny_streets() if name == "streets" else LOAD(name)
    if prepare:
        prepare()
    sys.exit(cli.main(["train", *words]))


LOAD = cli.load


def tiny_streets():
    return streets(samples=12, test_samples=6, size=(32, 64))


def words_to_go_on(words, folder):
    """What a user types after a kill: the same again where nothing had been written, --resume elsewhere."""
    holds_run = (folder / "settings.json").exists()
    return (["--resume", folder] if holds_run else [*words, "--out", folder]) + EVERY_STEP


def finish(words, prepare=None):
    process = child(words, prepare)
    process.join(60)
    assert process.exitcode == 0


def results(folder):
    """The bytes of what a run ends with, whatever happened on the way."""
    summary = json.loads((folder / "summary.json").read_text())
    assert summary.pop("seconds") > 0
    milestones = {path.name: path.read_bytes() for path in folder.glob("s*.pt")}
    return [(folder / n).read_bytes() for n in ("settings.json", "metrics.jsonl", "checkpoint.pt")], milestones, summary


@needs_fork
def test_ten_kills_at_random_moments_change_nothing(tmp_path):
    finish([*CGDM, "--out", tmp_path / "undisturbed"])
    folder, generator, steps = tmp_path / "killed", random.Random(0), []
    for _ in range(10):
        process = child(words_to_go_on(CGDM, folder))
        saves, wanted = [], generator.randint(3, 5)  # the first is the start
        while process.is_alive() and len(saves) < wanted:
            if not saves or recorded(folder) != saves[-1][0]:
                saves.append((recorded(folder), time.perf_counter()))
            time.sleep(0.001)
        time.sleep(generator.random() * (saves[-1][1] - saves[-2][1]))  # anywhere between this save and the next
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        steps.append(recorded(folder))
    assert steps == sorted(steps)
    assert 0 < steps[0] < steps[-1] < 150
    finish(words_to_go_on(CGDM, folder))
    assert results(folder) == results(tmp_path / "undisturbed")


def recorded(folder):
    """Steps that have reached metrics.jsonl."""
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


class Kill:
    """In a child: SIGKILL just before the nth call that makes a write durable or visible."""

    def __init__(self, n):
        self.n = n

    def __call__(self):
        for name in ("fsync", "replace"):
            setattr(os, name, self.counted(getattr(os, name)))

    def counted(self, call):
        def counted(*arguments):
            self.n -= 1
            if not self.n:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments)

        return counted


@needs_fork
def test_a_kill_between_any_two_calls_changes_nothing_of_a_run_in_stages(tmp_path):
    finish([*CAG, "--out", tmp_path / "undisturbed"])
    folder, left = tmp_path / "killed", set()
    # settings.json, behind the first step, takes 3 calls, a step 8 (the first one less), a step with a milestone 11
    for n in [*range(1, 12), 9, 10, 28, 29, 30, 31]:
        process = child(words_to_go_on(CAG, folder), Kill(n))
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        left.add(frozenset(path.name for path in folder.glob("checkpoint*")))
    assert {"checkpoint.pt", "checkpoint-before.pt", "checkpoint.pt.part"} in left
    assert {"checkpoint-before.pt", "checkpoint.pt.part"} in left  # between the two renames
    finish(words_to_go_on(CAG, folder))
    assert results(folder) == results(tmp_path / "undisturbed")
    assert not list(folder.glob("*.part"))


class LimitFiles:
    """In a child: a file that grows beyond so many bytes fails in the middle of a write, as on a full disk."""

    def __init__(self, size, errors):
        self.size, self.errors = size, errors

    def __call__(self):
        import resource

        sys.stderr = self.errors.open("w", buffering=1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.size))


# -- in one process ----------------------------------------------------------------------------------------------------

SMALL = ["mcd", "moons", "--seed", "1", "--set", "batch_size=16", "features=8", "hidden=8"]


@pytest.fixture
def run(capsys):
    """Run `train` on words: (exit status, stdout, the last line of stderr)."""

    def call(*words):
        status = cli.main(["train", *map(str, words)])
        out, err = capsys.readouterr()
        return status, out, err.splitlines()[-1] if err else ""

    return call


@pytest.fixture(scope="module")
def twelve(tmp_path_factory):
    """A finished run of twelve steps, with a checkpoint after each."""
    folder = tmp_path_factory.mktemp("twelve") / "run"
    assert cli.main(["train", *SMALL, "--steps", "12", "--out", str(folder), *EVERY_STEP]) == 0
    return folder


@pytest.fixture
def stop_in(monkeypatch):
    """Let a SIGTERM arrive in the middle of a step, as a context."""

    @contextmanager
    def stop_in(step):
        def interrupted(trained, steps):
            for _ in range(steps):
                if trained.steps == step - 1:
                    signal.raise_signal(signal.SIGTERM)
                yield trained.step()

        with monkeypatch.context() as patch:
            patch.setattr(train, "fit", interrupted)
            yield

    return stop_in


@pytest.fixture
def halfway(tmp_path, run, stop_in):
    """The same run, interrupted in its eighth step."""
    folder, handler = tmp_path / "half way", signal.getsignal(signal.SIGTERM)
    with stop_in(8):
        status, _, last = run(*SMALL, "--steps", 12, "--out", folder, *EVERY_STEP)
    assert status == 143
    assert last == f"go on with: uda train --resume '{folder}'"
    assert signal.getsignal(signal.SIGTERM) is handler
    assert recorded(folder) == 8
    return folder


def test_sigterm_ends_the_step_and_saves(halfway, twelve, run):
    assert run("--resume", halfway)[0] == 0
    assert results(halfway) == results(twelve)


def test_metrics_are_cut_by_step_not_by_line(halfway, twelve, run):
    """As two processes in one folder left them: records twice, later ones between, a line that is none."""
    path = halfway / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    later = json.dumps(json.loads(lines[0]) | {"step": 11}) + "\n"
    wrong = [later, "no record\n", "[" * 100_000 + "\n", "[]\n", '{"step": "2"}\n']
    path.write_text("".join([lines[0], *lines[:3], *wrong, *lines[3:], later]))
    assert run("--resume", halfway)[0] == 0
    assert results(halfway) == results(twelve)


@needs_fork
def test_a_second_process_is_refused_with_the_number_of_the_first(halfway, twelve, run, tmp_path):
    words = [*CGDM, "--steps", "100000", *EVERY_STEP, "--out", tmp_path / "new"]
    first = child(words)
    while recorded(tmp_path / "new") < 2:
        time.sleep(0.01)
    refusal = f"error: {tmp_path / 'new'}: process {first.pid} trains here; wait for its end, or give another --out"
    before = (tmp_path / "new" / "settings.json").read_bytes()
    assert run("--resume", tmp_path / "new")[::2] == (2, refusal)
    assert (tmp_path / "new" / "settings.json").read_bytes() == before
    assert recorded(tmp_path / "new") > 1
    first.kill()
    first.join()
    shutil.copy(tmp_path / "new" / "run.lock", halfway)  # what a kill leaves locks nobody out
    assert run("--resume", halfway)[0] == 0
    assert results(halfway) == results(twelve)
    assert not (halfway / "run.lock").exists()


@needs_fork
def test_two_processes_that_begin_at_once_make_one_run(tmp_path):
    words = [*CGDM, "--out", tmp_path / "both"]
    both = [child(words), child(words)]
    for process in both:
        process.join(60)
    assert sorted(process.exitcode for process in both) == [0, 2]
    finish([*CGDM, "--out", tmp_path / "alone"])
    assert results(tmp_path / "both") == results(tmp_path / "alone")


def test_a_start_that_fails_takes_its_new_folders_away(tmp_path, run):
    status, _, last = run(
        "mcd", "features", "--source", "/no.npz", "--target", "/no2.npz", "--out", tmp_path / "a" / "b"
    )
    assert (status, last) == (2, "error: /no.npz: no such file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["device=meta", "learning_rate=1", "k=0.5"])
def test_a_resume_that_fails_poisons_nothing(option, halfway, twelve, run):
    status, _, last = run("--resume", halfway, "--set", option)
    assert status == 2
    assert "\n" not in last
    assert run("--resume", halfway)[0] == 0
    assert results(halfway) == results(twelve)


def test_another_number_of_threads_is_told(halfway, capsys):
    path, threads = halfway / "settings.json", torch.get_num_threads()
    saved = json.loads(path.read_text())
    assert saved["threads"] == threads
    path.write_text(json.dumps(saved | {"threads": 64}))
    assert cli.main(["train", "--resume", str(halfway)]) == 0
    told = f"warning: {halfway}: trained with 64 threads so far, now with {threads}; numbers differ by rounding; "
    assert told + "OMP_NUM_THREADS=64 makes every bit equal\n" in capsys.readouterr().err


def test_a_seed_said_twice_is_refused(tmp_path, run):
    words = ["mcd", "moons", "--steps", "2", "--out", tmp_path / "run", "--seed", "1"]
    status, _, last = run(*words, "--set", "seed=2")
    assert (status, last) == (2, "error: --seed 1 and --set seed=2 differ; leave one of them out")
    assert run(*words, "--set", "seed=1")[0] == 0


def test_lines_beyond_the_checkpoint_and_half_a_line_are_dropped(halfway, twelve, run):
    with (halfway / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "losses": {}}\n{"step": 10, "los')
    assert run("--resume", halfway)[0] == 0
    assert results(halfway) == results(twelve)


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:-40], lambda b: b[:9000] + b"\xff" * 40 + b[9040:]])
def test_the_checkpoint_before_stands_in_for_a_damaged_one(damage, halfway, twelve, run, capsys):
    path = halfway / "checkpoint.pt"
    path.write_bytes(damage(path.read_bytes()))
    assert cli.main(["evaluate", str(halfway)]) == 0
    out, err = capsys.readouterr()
    assert "7 steps" in out
    assert err == f"warning: {path} is damaged; taking {halfway / 'checkpoint-before.pt'}, of step 7\n"
    assert cli.main(["train", "--resume", str(halfway)]) == 0
    assert capsys.readouterr().err.startswith(f"warning: {path} is damaged; taking")
    assert results(halfway) == results(twelve)


def test_a_damaged_checkpoint_does_not_take_the_place_of_a_good_one(halfway, run, stop_in):
    good = (halfway / "checkpoint-before.pt").read_bytes()
    (halfway / "checkpoint.pt").write_bytes(b"")
    with stop_in(8):
        assert run("--resume", halfway)[0] == 143
    assert (halfway / "checkpoint-before.pt").read_bytes() == good


def test_two_damaged_checkpoints_are_told_and_nothing_is_deleted(halfway, run):
    for name in ("checkpoint.pt", "checkpoint-before.pt"):
        (halfway / name).write_bytes(b"")
    before = {path.name: path.read_bytes() for path in halfway.iterdir()}
    status, _, last = run("--resume", halfway)
    assert status == 2
    assert last.startswith(f"error: {halfway / 'checkpoint.pt'}: damaged, cut short, or no checkpoint")
    assert {path.name: path.read_bytes() for path in halfway.iterdir()} == before


@pytest.mark.parametrize("field", ["steps", "config", "settings"])
def test_settings_that_lack_something_are_told(field, halfway, run):
    path = halfway / "settings.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in settings.items() if name != field}))
    status, _, last = run("--resume", halfway)
    assert (status, last.split("; ")[0]) == (2, f"error: {path}: damaged ({field} missing)")


WRONG = {  # file -> field -> values of another kind
    "settings.json": {
        "method": [None, 3, [], "nothing"], "task": [7, "sun"], "steps": [0, -1, 1.5, True, "9", 1e999],
        "config": [[], "abc", {}, {"seed": 1}], "settings": [None, [1], {"beta": "much"}], "recipe": [1, {}],
        "devices": ["two", 0, -1, 2.5], "threads": ["x", 1.5], "data": ["x"],
        "restarts": [0, ["a"], [0.5]], "choose": [1], "changes": [{}, [1], "x"], "source": [5], "standardise": [[]],
    },
    "progress.json": {"seconds": ["x", -1, None, 10**400], "milestones": [[], {"a": "b"}, {"a": -1}, 3]},
    "summary.json": {"steps": ["x", None, 2.5]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [(n, f, v) for n, fields in WRONG.items() for f, values in fields.items() for v in values],
    ids=lambda value: str(value)[:20],
)
def test_json_changed_by_hand_gets_one_line_and_loses_nothing(name, field, value, halfway, run):
    path = halfway / name
    before = json.loads(path.read_text()) if path.exists() else {"steps": 12}
    path.write_text(json.dumps(before | {field: value}))
    files = {file.name: file.read_bytes() for file in halfway.iterdir()}
    status, _, last = run("--resume", halfway)
    assert status == 2
    assert last.startswith("error: ")
    assert str(halfway) in last or "--devices" in last
    assert {file.name: file.read_bytes() for file in halfway.iterdir()} == files


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '"x"', "[" * 100_000, "\ud800", '{"steps": 1e5'])
@pytest.mark.parametrize("name", ["settings.json", "progress.json"])
def test_what_is_no_json_gets_one_line(name, text, halfway, run):
    (halfway / name).write_text(text, encoding="utf-8", errors="surrogatepass")
    status, _, last = run("--resume", halfway)
    assert (status, last.split(" (")[0]) == (2, f"error: {halfway / name}: damaged")


def test_a_run_without_its_checkpoint_yet_begins_again(halfway, twelve, run):
    for path in halfway.glob("checkpoint*"):
        path.unlink()
    assert run("--resume", halfway)[0] == 0
    assert results(halfway) == results(twelve)


def test_a_finished_run_says_so_and_does_nothing(twelve, run):
    before = {path.name: path.read_bytes() for path in twelve.iterdir()}
    status, out, _ = run("--resume", twelve, "--set", "k=2")
    assert (status, out) == (0, f"{twelve}: finished, 12 steps, scores in summary.json; a larger --steps trains on\n")
    assert {path.name: path.read_bytes() for path in twelve.iterdir()} == before


def test_more_steps_make_the_longer_run(halfway, twelve, tmp_path, run):
    assert run("--resume", halfway)[0] == 0
    assert run("--resume", halfway, "--steps", 15)[0] == 0
    assert run(*SMALL, "--steps", 15, "--out", tmp_path / "longer")[0] == 0
    (_, *files), *rest = results(halfway)
    (_, *others), *more = results(tmp_path / "longer")
    assert (files, rest) == (others, more)
    settings = json.loads((halfway / "settings.json").read_text())
    assert (settings["steps"], settings["changes"]) == (15, [{"step": 12, "steps": [12, 15]}])


def test_a_changed_setting_is_used_and_noted(halfway, run, stop_in):
    with stop_in(10):
        assert run("--resume", halfway, "--set", "learning_rate=1e-4", "device=cpu:0")[0] == 143
    assert run("--resume", halfway)[0] == 0
    settings = json.loads((halfway / "settings.json").read_text())
    change = {"step": 8, "device": ["cpu", "cpu:0"], "learning_rate": [0.002, 0.0001]}
    assert settings["changes"] == [change]
    records = [json.loads(line) for line in (halfway / "metrics.jsonl").read_text().splitlines()]
    assert [record["settings"]["learning_rate"] for record in records] == [0.002] * 8 + [0.0001] * 4


def test_a_run_of_another_version_is_refused(halfway, run):
    path = halfway / "settings.json"
    saved = json.loads(path.read_text())
    path.write_text(json.dumps(saved | {"config": saved["config"] | {"warp": 9}}))
    status, _, last = run("--resume", halfway)
    assert status == 2
    assert last.startswith(f"error: {path}: has warp, which this version does not know; go on with")


CONFLICTS = [
    ("cgdm moons", "method is 'mcd' there, not 'cgdm'"),
    ("mcd fonts-handwriting", "task is 'moons' there, not 'fonts-handwriting'"),
    ("--seed 2", "seed is 1 there, not 2"),
    ("--set hidden=8,8", "hidden is (8,) there, not (8, 8)"),
    ("--recipe mcd-digits", "recipe is 'mcd-moons' there, not 'mcd-digits'"),
    ("--weights file.pt", "weights is 'none' there, not 'file.pt'"),
    ("--steps 11", "--steps may grow from 12, not shrink to 11"),
    ("--set discrepancy=-1", "discrepancy must lie between"),
    ("--set alpha=0.1", "unknown setting 'alpha'"),
]


@pytest.mark.parametrize(("words", "message"), CONFLICTS, ids=[words for words, _ in CONFLICTS])
def test_what_does_not_agree_is_refused(words, message, halfway, run):
    before = {path.name: path.read_bytes() for path in halfway.iterdir()}
    status, _, last = run(*words.split(), "--resume", halfway)
    assert status == 2
    assert message in last
    assert last.startswith("error: ")
    assert {path.name: path.read_bytes() for path in halfway.iterdir()} == before


def test_a_start_whose_first_step_fails_leaves_nothing_behind(tmp_path, run, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(train, "fit", poisoned("before", n=1))
        status, _, last = run(*SMALL, "--steps", 12, "--out", tmp_path / "run")
    assert status == 2
    assert last.startswith("error: step 1: source_ce is nan; lower learning_rate")
    assert "go on with" not in last
    assert not (tmp_path / "run").exists()
    assert run(*SMALL, "--steps", 2, "--out", tmp_path / "run")[0] == 0


@pytest.mark.parametrize("name", ["halfway", "twelve"])
def test_a_resume_whose_first_step_fails_changes_nothing(name, request, tmp_path, run, monkeypatch):
    folder = shutil.copytree(request.getfixturevalue(name), tmp_path / "copy")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(train, "fit", poisoned("before", n=1))
        status, _, last = run("--resume", folder, "--steps", 20, "--set", "learning_rate=0.1")
    assert status == 2
    assert last.endswith(f"go on with: uda train --resume {folder} --set learning_rate=...")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_method_that_the_task_does_not_have_is_refused(halfway, run):
    path = halfway / "settings.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"method": "cag"}))
    status, _, last = run("--resume", halfway)
    known = "source_only, clusters, coral, dann, mcd, swd, cgdm, logistic_regression"
    assert (status, last) == (2, f"error: {path}: unknown method for moons 'cag'; known: {known}.")


def test_what_agrees_may_be_said_again(halfway, twelve, run):
    assert run(*SMALL, "--steps", 12, "--resume", halfway)[0] == 0
    assert results(halfway) == results(twelve)


@needs_fork
@pytest.mark.parametrize("starved", ["checkpoint.pt", "metrics.jsonl"])
def test_a_full_disk_leaves_the_last_good_checkpoint(starved, halfway, twelve, run):
    good, size = (halfway / "checkpoint.pt").read_bytes(), (halfway / starved).stat().st_size
    errors = halfway.parent / "errors"
    process = child(
        ["--resume", halfway], LimitFiles(size * 9 // 10 if starved == "checkpoint.pt" else size + 9, errors)
    )
    process.join(60)
    assert process.exitcode == 2
    said = errors.read_text().splitlines()[-1]
    assert re.fullmatch(
        f"error: .*: File too large; the last good checkpoint is {halfway / 'checkpoint.pt'}, of step 8; "
        f"go on with: uda train --resume '{halfway}'",
        said,
    )
    assert (halfway / "checkpoint.pt").read_bytes() == good
    assert not list(halfway.glob("*.part"))
    assert run("--resume", halfway)[0] == 0
    assert results(halfway) == results(twelve)


def poisoned(when, n=3):
    """A `fit` that makes a weight infinite, before its nth step or behind it."""

    def fit(trained, steps):
        for i in range(1, steps + 1):
            if (i, when) == (n, "before"):
                trained.heads[0].parameters().__next__().data.fill_(torch.inf)
            record = trained.step()
            if (i, when) == (n, "behind"):
                trained.extractor.layers[0].weight.data.fill_(torch.inf)
            yield record

    return fit


@pytest.mark.parametrize(
    ("when", "what"), [("before", "source_ce is nan"), ("behind", "extractor is no longer finite")]
)
def test_numbers_that_explode_never_reach_the_checkpoint(when, what, tmp_path, run, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(train, "fit", poisoned(when))
        status, _, last = run(*SMALL, "--steps", 12, "--out", folder, *EVERY_STEP)
    assert status == 2
    assert last.startswith(f"error: step 3: {what}; lower learning_rate")
    assert last.endswith(
        f"the last good checkpoint is {folder / 'checkpoint.pt'}, of step 2; "
        f"go on with: uda train --resume {folder} --set learning_rate=..."
    )
    assert run("--resume", folder, "--set", "learning_rate=1e-3")[0] == 0
    assert recorded(folder) == 12
