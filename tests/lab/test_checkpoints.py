"""A checkpoint holds a run whole, and belongs to one method and one task."""

import copy
import dataclasses
import errno
import os
import zipfile

import pytest
import torch
from states import assert_same

from uda_core.data import load
from uda_core.data.digits import fonts_handwriting
from uda_core.errors import UserError
from uda_core.lab import checkpoints
from uda_core.methods import CLASSIFICATION, MCD, Config, SourceOnly
from uda_core.training import fit

SMALL = Config(batch_size=32)
FREQUENT = {"cgdm": {"refresh": 2}}  # so that pseudo-labels are made, saved and used within a few steps


@pytest.fixture(scope="module")
def moons():
    return load("moons")


def trained(method, pair, steps, seed=0):
    run = CLASSIFICATION[method](pair, Config(batch_size=32, seed=seed), **FREQUENT.get(method, {}))
    return run, list(fit(run, steps))


@pytest.mark.parametrize("method", CLASSIFICATION)
def test_resumed_run_is_bit_identical(method, digits_task, tmp_path):
    whole, records = trained(method, digits_task.pair, 10)
    half, _ = trained(method, digits_task.pair, 5)
    checkpoints.save(half, tmp_path / "half.pt")

    resumed = CLASSIFICATION[method](digits_task.pair, Config(seed=7, batch_size=16))
    checkpoints.load(tmp_path / "half.pt", resumed)
    assert list(fit(resumed, 5)) == records[5:]
    assert_same(resumed.state_dict(), whole.state_dict())
    for name, run in (("whole.pt", whole), ("resumed.pt", resumed)):
        checkpoints.save(run, tmp_path / name)
    assert (tmp_path / "whole.pt").read_bytes() == (tmp_path / "resumed.pt").read_bytes()


def test_a_checkpoint_from_before_channels_last_goes_on_alike(digits_task):
    """Weights and Adam's moments saved in other strides: the same steps as without a stop."""
    whole, _ = trained("mcd", digits_task.pair, 3)
    state = copy.deepcopy(whole.state_dict())
    before = {name: weight.contiguous() for name, weight in state["extractor"].items()}
    changed = [name for name, weight in before.items() if weight.stride() != state["extractor"][name].stride()]
    state["extractor"] = before
    for moments in state["features_opt"]["state"].values():
        moments |= {name: moments[name].contiguous() for name in ("exp_avg", "exp_avg_sq")}
    assert changed

    resumed = CLASSIFICATION["mcd"](digits_task.pair, Config(batch_size=32))
    resumed.load_state_dict(state)
    assert list(fit(resumed, 3)) == list(fit(whole, 3))
    assert_same(resumed.state_dict(), whole.state_dict())


def test_bytes_tell_runs_apart_and_hold_no_file_name(moons, tmp_path):
    for name, seed in (("a.pt", 0), ("another-name.pt", 0), ("seed-1.pt", 1)):
        run, _ = trained("mcd", moons.pair, 1, seed)
        checkpoints.save(run, tmp_path / name)
    a, same, other = ((tmp_path / name).read_bytes() for name in ("a.pt", "another-name.pt", "seed-1.pt"))
    assert a == same
    assert a != other


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_failed_save_keeps_the_last_good_file(call, moons, tmp_path, monkeypatch):
    run, _ = trained("mcd", moons.pair, 1)
    path = tmp_path / "checkpoint.pt"
    checkpoints.save(run, path)
    good = path.read_bytes()

    def disk_full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, disk_full)
    run.step()
    with pytest.raises(OSError, match="No space"):
        checkpoints.save(run, path)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("checkpoint.pt", good)]


def test_the_checkpoint_before_is_kept(moons, tmp_path):
    run, _ = trained("mcd", moons.pair, 1)
    path, before = tmp_path / "checkpoint.pt", tmp_path / "before.pt"
    checkpoints.save(run, path, before)
    assert not before.exists()
    first = path.read_bytes()
    run.step()
    checkpoints.save(run, path, before)
    assert before.read_bytes() == first
    assert path.read_bytes() != first


@pytest.mark.parametrize("part", ["extractor", "heads_opt"])
def test_what_is_not_finite_is_not_saved(part, moons, tmp_path):
    run, _ = trained("mcd", moons.pair, 2)
    if part == "extractor":
        run.extractor.layers[0].bias.data[0] = torch.inf
    else:
        run.heads_opt.state_dict()["state"][0]["exp_avg"][0] = torch.nan
    with pytest.raises(FloatingPointError, match=f"step 2: {part} is no longer finite; lower learning_rate"):
        checkpoints.save(run, tmp_path / "checkpoint.pt")
    assert list(tmp_path.iterdir()) == []


def refused(path, run, words):
    """Loading fails in one line that names the file and holds `words`, and the run stays as it was."""
    before = copy.deepcopy(run.state_dict())
    with pytest.raises(UserError, match=words) as caught:
        checkpoints.load(path, run)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert_same(run.state_dict(), before)


def test_checkpoint_of_another_method_or_task_is_refused(moons, digits_task, tmp_path):
    path = tmp_path / "checkpoint.pt"
    run, _ = trained("mcd", digits_task.pair, 1)
    checkpoints.save(run, path)
    refused(path, SourceOnly(digits_task.pair, SMALL), "method is 'mcd', but this run has 'source_only'")
    refused(path, MCD(moons.pair), "task is 'fonts-handwriting', but this run has 'moons'")
    renamed = dataclasses.replace(digits_task.pair, classes=tuple("abcdefghij"))
    refused(path, MCD(renamed, SMALL), r"classes is \['0', .*'j'\]")
    imbalanced = fonts_handwriting(samples=60, drop={3: 0.9})
    refused(path, MCD(imbalanced.pair, SMALL), r"number of target samples is \d+, but this run has")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_checkpoint_cut_short_is_refused(share, moons, tmp_path):
    path = tmp_path / "checkpoint.pt"
    run, _ = trained("mcd", moons.pair, 1)
    checkpoints.save(run, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refused(path, run, "damaged, cut short")


def test_checkpoint_with_one_wrong_byte_is_refused(moons, tmp_path):
    path = tmp_path / "checkpoint.pt"
    run, _ = trained("mcd", moons.pair, 1)
    checkpoints.save(run, path)
    damaged = bytearray(path.read_bytes())
    weights = run.extractor.layers[2].weight.detach().numpy().tobytes()
    damaged[damaged.index(weights) + 100] ^= 1
    path.write_bytes(damaged)
    refused(path, run, "damaged, cut short")


def test_a_wrong_byte_anywhere_is_noticed_or_does_not_matter(moons, tmp_path):
    path = tmp_path / "checkpoint.pt"
    run, _ = trained("mcd", moons.pair, 1)
    checkpoints.save(run, path)
    whole, other, noticed = path.read_bytes(), MCD(moons.pair, SMALL), 0
    for place in torch.randint(len(whole), (60,), generator=torch.Generator().manual_seed(0)).tolist():
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        try:
            checkpoints.load(path, other)
            assert_same(other.state_dict(), run.state_dict())
        except checkpoints.DamagedCheckpoint:
            noticed += 1
    assert noticed > 30  # the others fell on padding between the tensors


def test_checkpoint_of_other_networks_is_refused(moons, tmp_path):
    run, path = MCD(moons.pair), tmp_path / "checkpoint.pt"
    state = run.state_dict()
    torch.save(state | {"config": state["config"] | {"features": 32}}, path)
    refused(path, run, "does not fit this version")


def test_checkpoint_with_settings_out_of_range_is_refused(moons, tmp_path):
    run, path = MCD(moons.pair), tmp_path / "checkpoint.pt"
    state = run.state_dict()
    torch.save(state | {"settings": state["settings"] | {"k": 1000}}, path)
    refused(path, run, "does not fit this version")


def put(*path_and_value):
    """A change of a nested state: at this path, this value, or this function of what is there; `del` takes it out."""
    *path, last, value = path_and_value

    def change(state):
        for name in path:
            state = state[name]
        if value is del_:
            del state[last]
        else:
            state[last] = value(state[last]) if callable(value) else value

    return change


del_ = object()
MOMENTS = "features_opt", "state", 0
ORDER = "batches", "source", "order"
CHANGES = {
    "moment of another shape": put(*MOMENTS, "exp_avg", torch.zeros(2, 3)),
    "moment that is one number": put(*MOMENTS, "exp_avg_sq", torch.tensor(0.0)),
    "moment that is a view of one number": put(*MOMENTS, "exp_avg", torch.zeros(1).expand(10**6)),
    "moment that is no tensor": put(*MOMENTS, "exp_avg", 3),
    "moment that lacks": put(*MOMENTS, "exp_avg", del_),
    "moment that nobody knows": put(*MOMENTS, "velocity", torch.zeros(3)),
    "step of many numbers": put(*MOMENTS, "step", torch.zeros(5)),
    "moments of a weight that is not there": put("features_opt", "state", 999, {"step": torch.tensor(1.0)}),
    "moments that are a list": put("features_opt", "state", []),
    "no groups": put("features_opt", "param_groups", []),
    "groups that are a word": put("features_opt", "param_groups", "abc"),
    "infinite moment": put(*MOMENTS, "exp_avg_sq", lambda moment: moment / 0),
    "weight that is NaN": put("extractor", "layers.0.bias", lambda weight: weight * torch.nan),
    "weight in float64": put("extractor", "layers.0.bias", torch.Tensor.double),
    "weight of complex numbers": put("extractor", "layers.0.weight", lambda weight: weight * 1j),
    "weight that lacks": put("extractor", "layers.0.bias", del_),
    "weight of another shape": put("extractor", "layers.0.bias", torch.zeros(2)),
    "sample that comes twice": put(*ORDER, lambda order: order.clone().fill_(3)),
    "order of fractions": put(*ORDER, torch.Tensor.float),
    "order that is a list": put(*ORDER, torch.Tensor.tolist),
    "order that is too short": put(*ORDER, lambda order: order[:4]),
    "order that is a table": put(*ORDER, lambda order: order[:, None]),
    "place before the first": put("batches", "target", "position", -1),
    "place behind the last": put("batches", "target", "position", 10**9),
    "half a place": put("batches", "target", "position", 0.5),
    "half a batch": put("batches", "drawn", 0.5),
    "batches of one domain": put("batches", "target", del_),
    "generator cut short": put("batches", "source", "generator", lambda state: state[:9]),
    "generator of fractions": put("batches", "source", "generator", torch.Tensor.float),
    "random state cut short": put("random_state", lambda states: [states[0][:9]]),
    "random state that lacks": put("random_state", []),
    "random state that is a number": put("random_state", 7),
    "pseudo-labels of others": put("pseudo_labels", torch.tensor([0, 1])),
    "pseudo-labels without a class": put("pseudo_labels", lambda _: torch.full((300,), 2)),
    "pseudo-labels below 0": put("pseudo_labels", lambda _: torch.full((300,), -1)),
    "pseudo-labels that are words": put("pseudo_labels", "abc"),
    "steps that are a word": put("steps", "ten"),
    "steps below 0": put("steps", -5),
    "steps that are none": put("steps", None),
    "batches that are none": put("batches", None),
    "order that is one number": put(*ORDER, torch.tensor(3)),
    "steps that are a tensor": put("steps", torch.tensor(3)),
    "counts that are a list": put("counts", [1]),
    "configuration that is a word": put("config", "abc"),
    "configuration with a strange name": put("config", "colour", "red"),
    "configuration without a device": put("config", "device", del_),
    "settings that are a list": put("settings", []),
    "settings that are words": put("settings", "k", "four"),
    "method that is a list": put("method", ["mcd"]),
    "batches that are a list": put("batches", []),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_checkpoint_that_was_tampered_with_is_refused(change, moons, tmp_path):
    run, _ = trained("mcd", moons.pair, 2)
    state, path = copy.deepcopy(run.state_dict()), tmp_path / "checkpoint.pt"
    change(state)
    torch.save(state, path)
    refused(path, run, "does not fit this version|of another kind|but this run has")
    run.step()


def test_a_checkpoint_that_was_packed_tighter_is_refused_unread(moons, tmp_path):
    """Ten megabytes on disk could be ten gigabytes of zeros."""
    run, _ = trained("mcd", moons.pair, 1)
    checkpoints.save(run, tmp_path / "good.pt")
    path = tmp_path / "checkpoint.pt"
    with zipfile.ZipFile(tmp_path / "good.pt") as good, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for member in good.infolist():
            packed.writestr(member.filename, good.read(member))
    refused(path, run, "damaged, cut short")


def test_checkpoint_of_a_gpu_goes_on_without_one(moons, tmp_path):
    run, _ = trained("mcd", moons.pair, 1)
    path, state = tmp_path / "checkpoint.pt", run.state_dict()
    gpu = {"config": state["config"] | {"device": "cuda"}, "random_state": [*state["random_state"], torch.zeros(16)]}
    torch.save(state | gpu, path)
    resumed = MCD(moons.pair)
    checkpoints.load(path, resumed)
    assert resumed.config.device == "cpu"
    assert resumed.step() == run.step()


def test_what_is_no_checkpoint_is_refused(moons, tmp_path):
    run, path = MCD(moons.pair), tmp_path / "file"
    refused(path, run, "no such checkpoint")
    path.write_text("a shopping list")
    refused(path, run, "no checkpoint")
    torch.save(run.extractor.state_dict(), path)
    refused(path, run, "lacks batches, classes")
    torch.save(torch.zeros(3), path)
    refused(path, run, "holds a Tensor")
    torch.save(Config(), path)  # a pickled object: never unpickled
    refused(path, run, "no checkpoint")
