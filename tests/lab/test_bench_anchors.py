"""The benchmark of the anchors compares like with like, and its exit status shows whether its targets are met."""

import json

import pytest
import torch
from scenes import tiny_task

from uda_core.lab import main as cli
from uda_core.lab.benchmarks import anchors
from uda_core.methods import CAG, CAGConfig
from uda_core.methods.cag import cag_step


def test_the_loops_compute_the_same():
    forms = anchors.forms((2, 6, 8, 9))
    for slow, fast in anchors.TARGETS:
        for a, b in zip(forms[slow](), forms[fast](), strict=True):
            torch.testing.assert_close(a, b)


def test_saved_tensors_are_counted_once_and_forgotten_when_freed():
    a = torch.ones(1000, requires_grad=True)
    with anchors.saved_tensors() as peak:
        b = (a * a).exp()  # keeps a, twice, and the result of exp
        assert peak() == 2 * 4000
        b.sum().backward()
        del b
        (a * a).sum().backward()
    assert peak() == 2 * 4000


def test_the_joint_step_is_cag_s_step():
    """In a stage: the same weights after a step, but for rounding."""
    segmenters = []
    for step in (anchors.joint_step, cag_step):
        run = CAG(tiny_task().pair, CAGConfig(batch_size=2), source_steps=0)
        run.next_stage(run.settings)
        run._step = step
        run.step()
        segmenters.append(run.segmenter.state_dict())
    for name, weights in segmenters[0].items():
        torch.testing.assert_close(weights, segmenters[1][name], rtol=1e-4, atol=1e-5)


def test_one_round_measures_time_and_memory():
    result = anchors.measure(rounds=1, shape=(2, 6, 8, 9), network="small", size=(64, 128))
    assert all(ms > 0 for ms in result["median_ms"].values())
    assert 0 < result["memory"]["share"] <= anchors.MEMORY_TARGET
    assert all(name in anchors.table(result) for name in result["median_ms"])


@pytest.mark.parametrize(("ratio", "share", "status"), [(7.0, 0.5, 0), (5.0, 0.5, 1), (7.0, 0.7, 1)])
def test_the_exit_status_shows_whether_the_targets_are_met(monkeypatch, tmp_path, capsys, ratio, share, status):
    result = {
        "torch": "2.5", "threads": 2, "rounds": 1, "median_ms": {"a, slow": ratio, "a, fast": 1.0},
        "ratios": [{"slow": "a, slow", "fast": "a, fast", "ratio": ratio, "target": 6.0}],
        "memory": {"network": "small", "joint_mb": 10.0, "separate_mb": 10 * share, "share": share},
    }  # fmt: skip
    monkeypatch.setattr(anchors, "measure", lambda: result)
    assert cli.main(["bench", "anchors", "--out", str(tmp_path / "anchors.json")]) == status
    assert json.loads((tmp_path / "anchors.json").read_text()) == result
    assert f"{share:.0%}     of the saved tensors" in capsys.readouterr().out
