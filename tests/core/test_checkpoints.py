"""A checkpoint holds a run whole, and belongs to one method and one task."""

import copy
import dataclasses
import errno
import os

import pytest
import torch

from uda_core import checkpoints
from uda_core.data import load
from uda_core.data.digits import fonts_handwriting
from uda_core.errors import UserError
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


def assert_same(a, b):
    """Equal to the last bit, whatever is nested in what."""
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for pair in zip(a, b, strict=True):
            assert_same(*pair)
    else:
        assert a == b
