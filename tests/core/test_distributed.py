"""Two processes, one run: on the CPU, over gloo, with tasks of a few points; two GPUs where there are any."""

import multiprocessing

import pytest
import torch
from torch import nn

from uda_core import distributed, methods
from uda_core.data.moons import moons
from uda_core.data.streets import streets
from uda_core.lab import checkpoints, launch
from uda_core.methods import CLASSIFICATION
from uda_core.training import update

TINY = {"batch_size": 16, "features": 8, "hidden": (6,)}
FREQUENT = {"cgdm": {"refresh": 3}}  # so that pseudo-labels are made and used within ten steps


@pytest.fixture(autouse=True)
def _start_quickly(monkeypatch):
    """Processes that need not import torch: they are forked from one that has, and has never trained."""
    modules = ["torch._dynamo", "pytest", "uda_core.lab.launch", "uda_core.methods", "uda_core.data.moons"]
    multiprocessing.set_forkserver_preload(modules)  # the first: torch imports it at an optimiser's first step
    monkeypatch.setattr(launch, "START_METHOD", "forkserver")


@pytest.fixture
def two(tmp_path):
    """Call `function(*args)`, importable, in two processes that are one run; what it returns in each, as a list."""

    def call(function, *args, ranks=2, device="cpu"):
        assert launch.launch(ranks, device, keep, tmp_path, device, function, *args) == 0
        return [torch.load(tmp_path / f"{i}.pt", map_location="cpu", weights_only=True) for i in range(ranks)]

    return call


def keep(folder, device, function, *args):
    with distributed.together(device):
        torch.save(function(*args), folder / f"{distributed.rank()}.pt")
    return 0


def make(method, **config):
    """A run on 63 points, which two processes do not share evenly."""
    return CLASSIFICATION[method](moons(samples=63).pair, methods.Config(**(TINY | config)), **FREQUENT.get(method, {}))


def state(run):
    """What must be equal in all processes: all but what was counted on each one's batch."""
    return {name: value for name, value in run.state_dict().items() if name != "counts"}


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
    return {"state": state(run), "losses": [record.losses for record in records]}


@pytest.mark.parametrize("method", CLASSIFICATION)
def test_both_processes_are_one_after_ten_steps(two, method):
    """Weights, running statistics, optimisers, pseudo-labels, losses, and the random state that dropout draws from."""
    first, second = two(train, method, 10)
    assert first["state"]["steps"] == 10
    assert equal(first["state"], second["state"])
    assert equal(first["losses"], second["losses"])
    if method == "cgdm":
        assert first["state"]["pseudo_labels"].shape == (63,)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_gpus_are_one_after_ten_steps(two, precision):
    first, second = two(train, "cgdm", 10, {"device": "cuda", "precision": precision}, device="cuda")
    assert equal(first["state"], second["state"])
    assert equal(first["losses"], second["losses"])


def random_numbers():
    """Of two passes through a backbone, and of the heads after them."""
    run = make("source_only")
    with run._own_random_state():
        passes = []
        for _ in range(2):
            with run._noise_of_device():
                passes.append(torch.rand(3))
        return {"passes": passes, "heads": torch.rand(3)}


def test_dropout_differs_by_device_in_the_backbone_and_not_in_the_heads(two):
    first, second = two(random_numbers)
    numbers = [*first["passes"], *second["passes"], first["heads"]]
    assert len({tuple(n.tolist()) for n in numbers}) == 5
    assert torch.equal(first["heads"], second["heads"])
    run = make("source_only")
    with run._own_random_state():
        assert torch.equal(torch.rand(3), first["heads"])  # as if the backbone had drawn nothing


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

METHODS = {  # method and configuration, with settings that bring all of it into ten steps
    "source_only": ("source_only", {}, {}),
    "infomax": ("source_only", {}, {"infomax": 0.3}),
    "mcd": ("mcd", {}, {}),
    "mcd, apart": ("mcd", {"batches": "apart"}, {}),
    "swd": ("swd", {}, {"discrepancy": 1.0}),  # its random directions are the same in both processes
    "coral": ("coral", {}, {}),
    "dann": ("dann", {}, {"ramp": 10}),
    "cgdm": ("cgdm", {}, {"refresh": 3}),
    "cgdm, fast": ("cgdm", {"fast": True}, {"refresh": 3}),
    "cgdm, paper": ("cgdm", {"variant": "paper"}, {"refresh": 3, "infomax": 0.0}),
}


def train_in_double_precision(name, batch_size):
    """Ten steps of a network whose only batch norm and dropout are those of the heads."""
    method, config, settings = CLASSIFICATION[METHODS[name][0]], *METHODS[name][1:]
    config = {"features": 8, "hidden": (6,), "optimizer": "sgd", "batch_size": batch_size} | config
    run = method(moons(samples=64).pair, method.run.CONFIG(**config), learning_rate=0.05, **settings)
    assert not any(isinstance(module, nn.BatchNorm1d | nn.Dropout) for module in run.extractor.modules())
    networks = {name: getattr(run, name).double() for name in run.NETWORK_NAMES}
    run.extractor.register_forward_pre_hook(lambda module, x: x[0].double())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        losses = [run.step().losses for _ in range(10)]
    return {"losses": losses} | {name: network.state_dict() for name, network in networks.items()}


@pytest.mark.parametrize("name", METHODS)
def test_two_at_batch_b_are_one_at_batch_2b(two, name):
    """Losses, weights and the heads' running statistics, where the backbone has neither batch norm nor dropout."""
    alone = train_in_double_precision(name, 16)
    assert set(alone["losses"][-1].values()).isdisjoint({0.0})
    for process in two(train_in_double_precision, name, 8):
        torch.testing.assert_close(process, alone, rtol=0, atol=1e-12)


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
    run = methods.CAG(task.pair, methods.CAGConfig(batch_size=2), **settings)
    losses = [run.step().losses for _ in range(steps)]
    return {"state": state(run), "losses": losses}


def test_stages_of_segmentation_stay_together(two):
    """Source, the target's statistics, two stages with new teacher and anchors."""
    first, second = two(segment, 5)
    assert first["state"]["stage"] == 2
    assert equal(first, second)


# -- mixed precision ---------------------------------------------------------------------------------------------------


def test_bf16_is_for_the_network_alone(digits_task, monkeypatch):
    """Its layers compute in bfloat16; features, heads, losses, pseudo-labels, weights, optimisers stay in float32."""
    run = methods.CGDM(digits_task.pair, methods.CGDMConfig(precision="bf16", batch_size=32, fast=True), refresh=5)
    seen = {"network": set(), "heads": set()}
    run.extractor.layers[-1].register_forward_hook(lambda layer, x, y: seen["network"].add(y.dtype))
    run.heads[0].linears[-1].register_forward_hook(lambda layer, x, y: seen["heads"].add(y.dtype))
    losses, step = [], run._step
    run._step = lambda *args: losses.append(step(*args)) or losses[-1]
    first = run.step().losses["source_ce"]
    last = [run.step() for _ in range(39)][-1].losses["source_ce"]
    assert seen == {"network": {torch.bfloat16}, "heads": {torch.float32}}
    assert {"infomax", "pseudo_ce", "discrepancy", "gradient_discrepancy"} < losses[-1].keys()
    assert {loss.dtype for loss in losses[-1].values()} == {torch.float32}
    assert run.features(digits_task.pair.target_train.x[:5]).dtype == torch.float32
    moments = [value for moments in run.features_opt.state.values() for value in moments.values()]
    assert {tensor.dtype for tensor in [*run.extractor.parameters(), *moments]} == {torch.float32}
    assert last < first / 2
