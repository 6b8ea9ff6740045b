"""The benchmark of the fast forms compares like with like, and its exit status shows whether its targets are met."""

import inspect
import json
import sys

import pytest
import torch

from uda_core.errors import UserError
from uda_core.lab import main as cli
from uda_core.lab.benchmarks import speed, table
from uda_core.methods.cgdm import CGDMConfig, cgdm_step


def test_the_naive_step_is_cgdm_s_step():
    """In float64 and without dropout: the same weights after a step."""
    runs = []
    for step in (speed.naive_cgdm_step, cgdm_step):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            config = CGDMConfig(network="mcd_digits", features=0, batch_size=8, hidden=(10, 10), dropout=0.0)
            run = speed.run_on_images(step, config)
        run.extractor.double(), run.heads.double()
        run.embed = lambda *x, f=run.extractor: f(torch.cat(x).double())
        run.step()
        runs.append(run)
    for part in ("extractor", "heads"):
        naive, ours = (getattr(run, part).state_dict() for run in runs)
        for name in ours:
            torch.testing.assert_close(naive[name], ours[name], rtol=1e-7, atol=1e-8)


def test_one_round_measures_every_form(monkeypatch):
    monkeypatch.setattr(speed, "_resnet_size", lambda device: ("resnet18", 32, 2))
    result = speed.measure(rounds=1)
    assert all(ms > 0 for ms in result["median_ms"].values())
    steps = {name: ms for name, ms in result["median_ms"].items() if name.startswith("resnet18")}
    assert result["images_per_s"] == {name: pytest.approx(4 / (ms / 1000)) for name, ms in steps.items()}
    for row in result["ratios"]:
        assert row["ratio"] == result["median_ms"][row["slow"]] / result["median_ms"][row["fast"]]
    assert all(name in table(result) for name in result["median_ms"])


def test_a_peer_that_is_not_installed_is_named_with_the_way_to_install_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pytorch_adapt", None)
    assert list(speed._mcd_forms()) == ["MCD step, ours"]
    monkeypatch.setattr(speed, "_cpu_forms", lambda: {name: int for pair in speed.TARGETS for name in pair})
    assert f"-     pytorch-adapt==0.0.83, not installed here: {speed.PEER_INSTALL}" in table(speed.measure(rounds=2))
    with pytest.raises(SystemExit):
        cli.main(["bench", "speed", "--help"])
    assert speed.PEER_INSTALL in capsys.readouterr().out


@pytest.mark.skipif(not speed._peer(), reason="needs pytorch-adapt")
def test_the_peer_takes_the_steps_of_mcd():
    """The same optimisers step as often: all of them in A, the heads' in B, the features' in each of four steps C."""
    step = speed._mcd_forms()[f"MCD step, {speed.PEER}"]
    run = inspect.getclosurevars(step).nonlocals["theirs"]
    step()
    for optimizer, times in ((run.features_opt, 1 + 4), (run.heads_opt, 1 + 1)):
        assert {int(moments["step"]) for moments in optimizer.state.values()} == {times}


def test_device_that_is_not_here_is_refused():
    with pytest.raises(UserError, match="device 'cuda:77' is not available"):
        speed.measure(rounds=1, device="cuda:77")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_measures_its_own_forms():
    result = speed.measure(rounds=1, device="cuda")
    assert {name for pair in speed.GPU_TARGETS for name in pair} <= result["median_ms"].keys()


@pytest.mark.parametrize(("ratio", "status"), [(3.1, 0), (2.9, 1)])
def test_the_exit_status_shows_whether_the_targets_are_met(monkeypatch, tmp_path, capsys, ratio, status):
    result = {
        "torch": "2.4", "threads": 1, "rounds": 1, "median_ms": {"a, slow": ratio, "a, fast": 1.0},
        "ratios": [{"slow": "a, slow", "fast": "a, fast", "ratio": ratio, "target": 3.0}],
    }  # fmt: skip
    monkeypatch.setattr(speed, "measure", lambda device: result)
    assert cli.main(["bench", "speed", "--out", str(tmp_path / "speed.json")]) == status
    assert json.loads((tmp_path / "speed.json").read_text()) == result
    assert f"{ratio:.2f} x   a, fast against slow; at least 3.0 wanted" in capsys.readouterr().out
