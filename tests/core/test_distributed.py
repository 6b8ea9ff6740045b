"""Two processes, one run: on the CPU, over gloo, with tasks of a few points; two GPUs where there are any."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
from torch import nn

from uda_core import __main__ as cli
from uda_core import checkpoints, distributed
from uda_core.data.moons import moons
from uda_core.data.streets import streets
from uda_core.errors import UserError
from uda_core.methods import CLASSIFY, METHODS, Config, SegmentationConfig
from uda_core.training import update

TINY = {"batch_size": 16, "features": 8, "hidden": (6,)}
FREQUENT = {"cgdm": {"refresh": 3}}  # so that pseudo-labels are made and used within ten steps


@pytest.fixture(autouse=True)
def _start_quickly(monkeypatch):
    """Processes that need not import torch: they are forked from one that has, and has never trained."""
    modules = ["torch._dynamo", "pytest", "uda_core.__main__", "uda_core.data.moons"]
    multiprocessing.set_forkserver_preload(modules)  # the first: torch imports it at an optimiser's first step
    monkeypatch.setattr(distributed, "START_METHOD", "forkserver")


@pytest.fixture
def two(tmp_path):
    """Call `function(*args)`, importable, in two processes that are one run; what it returns in each, as a list."""

    def call(function, *args, ranks=2, device="cpu"):
        assert distributed.launch(ranks, device, keep, tmp_path, function, *args) == 0
        return [torch.load(tmp_path / f"{i}.pt", map_location="cpu", weights_only=True) for i in range(ranks)]

    return call


def keep(folder, function, *args):
    torch.save(function(*args), folder / f"{distributed.rank()}.pt")
    return 0


def make(method, **config):
    """A run on 63 points, which two processes do not share evenly."""
    return METHODS[method](moons(samples=63).pair, Config(**(TINY | config)), **FREQUENT.get(method, {}))


def state(run):
    """What must be equal in all processes: all but the random state, and what was counted on each one's batch."""
    return {name: value for name, value in run.state_dict().items() if name not in ("random_state", "counts")}


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[name], b[name]) for name in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


# -- one run -----------------------------------------------------------------------------------------------------------


def train(method, steps, config=None):
    run = make(method, **config or {})
    records = [run.step() for _ in range(steps)]
    noise = torch.rand(3, generator=torch.Generator().set_state(run._random_state[0]))
    return {"state": state(run), "losses": [record.losses for record in records], "noise": noise}


@pytest.mark.parametrize("method", CLASSIFY)
def test_both_processes_are_one_after_ten_steps(two, method):
    """Weights, running statistics, optimisers, pseudo-labels and losses; not what dropout draws."""
    first, second = two(train, method, 10)
    assert first["state"]["steps"] == 10
    assert equal(first["state"], second["state"])
    assert equal(first["losses"], second["losses"])
    assert not torch.equal(first["noise"], second["noise"])
    if method == "cgdm":
        assert first["state"]["pseudo_labels"].shape == (63,)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_gpus_are_one_after_ten_steps(two, precision):
    first, second = two(train, "cgdm", 10, {"device": "cuda", "precision": precision}, device="cuda")
    assert equal(first["state"], second["state"])
    assert equal(first["losses"], second["losses"])


def epoch(batches):
    run = make("source_only", batch_size=8)
    drawn = [next(run._batches) for _ in range(batches)]
    points = run.pair.source_train.x
    source = torch.cat([(batch.x_s[:, None] == points).all(2).int().argmax(1) for batch in drawn])
    return {"source": source, "target": torch.cat([batch.i_t for batch in drawn])}


def test_an_epoch_is_shared_out_without_overlap(two):
    """63 points, 8 for each of two: three batches, and the 15 that do not fill another."""
    first, second = two(epoch, 3)
    for domain in ("source", "target"):
        seen = torch.cat([first[domain], second[domain]])
        assert len(seen.unique()) == len(seen) == 48


def labels():
    run = make("cgdm", seed=4)
    run.refresh_pseudo_labels()
    numbers = torch.arange(63 * 2).view(63, 2)
    return {"labels": run.pseudo_labels, "gathered": distributed.gather(numbers[distributed.share(63)], 63)}


def test_pseudo_labels_are_complete_and_the_same_as_of_one_process(two):
    alone = labels()
    assert torch.equal(alone["gathered"], torch.arange(63 * 2).view(63, 2))
    for process in two(labels):
        assert equal(process, alone)


def gradients():
    """Rank 0 has loss 3 u, rank 1 loss 5 u + 7 v; nobody uses w."""
    u, v, w = (nn.Parameter(torch.tensor([[value]])) for value in (1.0, 2.0, 3.0))
    loss = 3 * u.sum() if distributed.rank() == 0 else 5 * u.sum() + 7 * v.sum()
    update(loss, torch.optim.SGD([u, v, w], lr=1.0, weight_decay=1.0))
    return {"grads": [None if p.grad is None else p.grad.item() for p in (u, v, w)], "w": w.item()}


def test_gradients_are_means_over_processes_and_missing_ones_count_as_zeros(two):
    """4 and 3.5 are by hand; w has no gradient anywhere, so that not even its weight decay is applied."""
    for process in two(gradients):
        assert process == {"grads": [4.0, 3.5, None], "w": 3.0}


def three():
    return {"share": distributed.share(7), "mean": distributed.average({"a": float(distributed.rank())})}


def test_three_processes_share_what_does_not_divide(two):
    processes = two(three, ranks=3)
    assert [process["share"].tolist() for process in processes] == [[0, 1, 2], [3, 4], [5, 6]]
    assert all(process["mean"] == {"a": 1.0} for process in processes)


# -- one result --------------------------------------------------------------------------------------------------------

NO_BATCH_NORM = {"hidden": (), "dropout": 0.0, "optimizer": "sgd"}


@pytest.mark.parametrize("method", ["source_only", "mcd"])
def test_two_at_batch_b_are_one_at_batch_2b(two, method):
    """Where the losses are means over samples, without batch norm and dropout: but for rounding."""
    alone = train(method, 10, NO_BATCH_NORM | {"batch_size": 32})
    for process in two(train, method, 10, NO_BATCH_NORM | {"batch_size": 16}):
        torch.testing.assert_close(process["losses"], alone["losses"], rtol=1e-5, atol=1e-6)
        for network in ("extractor", "heads"):
            torch.testing.assert_close(process["state"][network], alone["state"][network], rtol=1e-5, atol=1e-6)


def test_batch_norm_of_one_device_is_what_sets_two_apart(two):
    """The same with batch norm in the heads: not equal, but near, which is what the test above leaves open."""
    settings = {"hidden": (6,), "dropout": 0.0, "optimizer": "sgd"}
    alone = train("source_only", 10, settings | {"batch_size": 32})["losses"][-1]["source_ce"]
    (first, _), untrained = two(train, "source_only", 10, settings), train("source_only", 1, settings)["losses"][0]
    assert 1e-6 < abs(first["losses"][-1]["source_ce"] - alone) < 0.1 * untrained["source_ce"]


# -- going on ----------------------------------------------------------------------------------------------------------


def train_on(path, start, stop):
    """CGDM with dropout from the checkpoint at `path`, if one is there, to step `stop`, and saved."""
    run = make("cgdm")
    if start:
        checkpoints.load(path, run)
    assert run.steps == start
    while run.steps < stop:
        run.step()
    if distributed.rank() == 0:
        checkpoints.save(run, path)
    return state(run)


def test_resumed_in_two_processes_is_bit_identical(two, tmp_path):
    """Also the dropout of the second process, whose random state is in no checkpoint: the weights would tell."""
    whole, *_ = two(train_on, tmp_path / "whole.pt", 0, 8)
    two(train_on, tmp_path / "half.pt", 0, 4)
    resumed = two(train_on, tmp_path / "half.pt", 4, 8)
    assert all(equal(process, whole) for process in resumed)
    states = [torch.load(tmp_path / name, weights_only=True) for name in ("whole.pt", "half.pt")]
    assert equal(*states)


# -- segmentation ------------------------------------------------------------------------------------------------------


def segment(steps):
    task = streets(samples=8, test_samples=2, size=(32, 64))
    settings = {"source_steps": 2, "stage_steps": 2, "stages": 2}
    run = METHODS["cag"](task.pair, SegmentationConfig(batch_size=2), **settings)
    losses = [run.step().losses for _ in range(steps)]
    return {"state": state(run), "losses": losses}


def test_stages_of_segmentation_stay_together(two):
    """Source, the target's statistics, two stages with new teacher and anchors."""
    first, second = two(segment, 5)
    assert first["state"]["stage"] == 2
    assert equal(first, second)


# -- the end -----------------------------------------------------------------------------------------------------------


def fail(kind):
    """Rank 1 fails in its third step, while rank 0 waits for it in an exchange."""
    run = make("source_only")
    while True:
        run.step()
        if distributed.rank() == 1 and run.steps == 2:
            if kind == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise kind("file 7 is unreadable")


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("killed", ChildProcessError, "process 1 of 2 was killed"),
        (UserError, UserError, "file 7 is unreadable"),
        (RuntimeError, RuntimeError, "unreadable|Connection closed"),
    ],
)
def test_one_failure_ends_all_and_is_told_by_its_cause(kind, error, words):
    before = time.monotonic()
    with pytest.raises(error, match=words):
        distributed.launch(2, "cpu", fail, kind)
    assert time.monotonic() - before < 60
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("devices", "device", "words"),
    [
        (0, "cpu", "at least 1"),
        (2, "cuda:1", "use device=cuda with --devices 2"),
        (99, "cuda", "but there are"),
        (2, "mps", "works with cpu and cuda"),
    ],
)
def test_devices_that_are_not_there_are_refused(devices, device, words):
    with pytest.raises(UserError, match=words):
        distributed.launch(devices, device, fail, "killed")


def test_windows_is_told_that_it_cannot(monkeypatch):
    monkeypatch.delattr(os, "setpgrp")
    with pytest.raises(UserError, match="--devices above 1 needs Linux or macOS"):
        distributed.launch(2, "cpu", fail, "killed")


# -- mixed precision ---------------------------------------------------------------------------------------------------


def test_bf16_is_for_the_network_alone(digits_task, monkeypatch):
    """Its layers compute in bfloat16; features, heads, losses, pseudo-labels, weights, optimisers stay in float32."""
    run = METHODS["cgdm"](digits_task.pair, CGDMConfig(precision="bf16", batch_size=32, fast=True), refresh=5)
    seen = {"network": set(), "heads": set()}
    run.extractor.layers[-1].register_forward_hook(lambda layer, x, y: seen["network"].add(y.dtype))
    run.heads[0].linears[-1].register_forward_hook(lambda layer, x, y: seen["heads"].add(y.dtype))
    losses, step = [], run._step
    run._step = lambda *args: losses.append(step(*args)) or losses[-1]
    first = run.step().losses["source_ce"]
    last = [run.step() for _ in range(39)][-1].losses["source_ce"]
    assert seen == {"network": {torch.bfloat16}, "heads": {torch.float32}}
    assert {"entropy", "pseudo_ce", "discrepancy", "gradient_discrepancy"} < losses[-1].keys()
    assert {loss.dtype for loss in losses[-1].values()} == {torch.float32}
    assert run.features(digits_task.pair.target_train.x[:5]).dtype == torch.float32
    moments = [value for moments in run.features_opt.state.values() for value in moments.values()]
    assert {tensor.dtype for tensor in [*run.extractor.parameters(), *moments]} == {torch.float32}
    assert last < first / 2


# -- the command line --------------------------------------------------------------------------------------------------

WORDS = ["train", "cgdm", "moons", "--devices", "2"]
EVERY_STEP = ["--checkpoint-minutes", "0"]
SMALL = ["--set", "batch_size=16", "hidden=6", "features=8", "dropout=0.5", "refresh=5"]


def kill_one(folder):
    """Kill the second process as soon as there is a checkpoint."""
    while not (folder / "checkpoint.pt").exists():
        time.sleep(0.01)
    os.kill(max(process.pid for process in multiprocessing.active_children()), signal.SIGKILL)


def test_one_killed_ends_the_run_which_goes_on_from_its_last_checkpoint(tmp_path, capfd):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert cli.main([*WORDS, "--steps", "25", "--out", str(whole), *SMALL]) == 0
    assert json.loads((whole / "settings.json").read_text())["devices"] == 2
    capfd.readouterr()

    killer = threading.Thread(target=kill_one, args=(killed,))
    killer.start()
    assert cli.main([*WORDS, "--steps", "25", *EVERY_STEP, "--out", str(killed), *SMALL]) == 2
    killer.join()
    error = f"error: process 1 of 2 was killed; the others were ended; go on with: .* --resume {killed}"
    assert re.fullmatch(error, capfd.readouterr().err.strip().splitlines()[-1])
    assert not (killed / "summary.json").exists()

    assert cli.main(["train", "--resume", str(killed), "--devices", "4"]) == 2
    assert "devices is 2 there, not 4" in capfd.readouterr().err
    assert cli.main(["train", "--resume", str(killed)]) == 0
    assert (killed / "checkpoint.pt").read_bytes() == (whole / "checkpoint.pt").read_bytes()
    assert (killed / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_ctrl_c_ends_all_after_the_same_step(tmp_path):
    """The real command, from a shell: it starts its processes anew, and waits for them."""
    out = tmp_path / "run"
    words = [*WORDS, "--steps", "100000", *EVERY_STEP, "--precision", "bf16", "--out", str(out), *SMALL]
    with (tmp_path / "stderr").open("w") as told:
        process = subprocess.Popen([sys.executable, "-m", "uda_core", *words], stderr=told)
    while process.poll() is None and not (out / "checkpoint.pt").exists():
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == list(range(1, len(records) + 1))  # one process writes
    err = (tmp_path / "stderr").read_text()
    assert err.count(f"interrupted: step {len(records)} of 100000 is saved in {out / 'checkpoint.pt'}") == 1
    saved = torch.load(out / "checkpoint.pt", weights_only=True)
    assert (saved["steps"], saved["config"]["precision"]) == (len(records), "bf16")
