"""Runs that segment: who learns from what, which statistics serve whom, where teacher and anchors come from."""

import copy
import dataclasses
import io
import math
from importlib import import_module

import pytest
import torch
from scenes import tiny_task
from states import assert_same
from torch import nn
from torch.nn import functional as F

from uda_core import losses, methods
from uda_core.anchors import where_right
from uda_core.errors import UserError
from uda_core.evaluation import evaluate
from uda_core.lab import checkpoints
from uda_core.lab.benchmarks.anchors import saved_tensors
from uda_core.maps import at_stride
from uda_core.methods import SEGMENTATION, CAGConfig, SegmentationConfig, adabn
from uda_core.methods.cag import cag_step
from uda_core.methods.segmentation import photometric_jitter
from uda_core.models.batch_norm import DomainBatchNorm2d, share_statistics_
from uda_core.samples import IGNORE, Batch, Unlabelled
from uda_core.task import Task, Truth
from uda_core.training import fit, update

PHASES = {"source_steps": 2, "stage_steps": 2, "stages": 2}  # 2 source, 2 adversarial if there are any, 2 + 2 in stages
RATES = {"learning_rate": 0.02, "stage_learning_rate": 0.01}
ALL = [
    ("source_only", "none"),
    ("output_adversarial", "none"),
    *(("cag", warm_up) for warm_up in ("none", "adabn", "adversarial")),
]


@pytest.fixture(scope="module")
def tiny():
    return tiny_task()


def make(method, pair, settings=None, **config):
    phases = {"cag": PHASES | RATES | {"warm_up_steps": 2}}.get(method, {"learning_rate": 0.02})
    method = SEGMENTATION[method]
    known = {f.name for f in dataclasses.fields(method.run.CONFIG)}  # not every method has a warm-up
    config = {name: value for name, value in ({"batch_size": 2} | config).items() if name in known}
    return method(pair, method.run.CONFIG(**config), **(phases | (settings or {})))


def length(warm_up):
    """Steps of a whole CAG run."""
    return 8 if warm_up == "adversarial" else 6


def train(method, pair, steps, **config):
    run = make(method, pair, **config)
    return run, list(fit(run, steps))


def state_bytes(run):
    buffer = io.BytesIO()
    torch.save(run.state_dict(), buffer)
    return buffer.getvalue()


def tensors(run):
    return {
        f"{net}.{name}": t.clone() for net in run.NETWORK_NAMES for name, t in getattr(run, net).state_dict().items()
    }


def what_moved(run, before):
    """Which groups of tensors are not as they were."""

    def group(name):
        net = name.split(".")[0]
        if "running" not in name and "tracked" not in name:
            return f"{net} weights"
        domain = next((domain for domain in ("source", "target") if f".{domain}." in name), "shared")
        return f"{net} {domain} statistics"

    return {group(name) for name, t in tensors(run).items() if not torch.equal(t, before[name])}


# -- who moves ---------------------------------------------------------------------------------------------------------

SOURCE = {"segmenter weights", "segmenter source statistics"}
BOTH = SOURCE | {"segmenter target statistics"}
TEACHER = {"teacher weights", "teacher source statistics", "teacher target statistics"}


@pytest.mark.parametrize(
    ("method", "warm_up", "expected"),
    [
        ("source_only", "none", [SOURCE] * 3),
        ("output_adversarial", "none", [BOTH | {"discriminator weights"}] * 3),
        ("cag", "none", [SOURCE] * 2 + [BOTH | TEACHER, BOTH] * 2),
        ("cag", "adabn", [SOURCE] * 2 + [BOTH | TEACHER, BOTH] * 2),
        ("cag", "adversarial", [SOURCE] * 2 + [BOTH | {"discriminator weights"}] * 2 + [BOTH | TEACHER, BOTH] * 2),
    ],
)
def test_what_moves_in_each_phase(tiny, method, warm_up, expected):
    run, moved = make(method, tiny.pair, warm_up=warm_up), []
    for _ in expected:
        before = tensors(run)
        run.step()
        moved.append(what_moved(run, before))
    assert moved == expected


@pytest.mark.parametrize(
    ("rate", "moves"), [("learning_rate", "discriminator"), ("discriminator_learning_rate", "segmenter")]
)
def test_segmenter_and_discriminator_stand_still_for_each_other(tiny, rate, moves):
    run = make("output_adversarial", tiny.pair, {rate: 0.0})
    before = tensors(run)
    run.step()
    assert {group for group in what_moved(run, before) if "weights" in group} == {f"{moves} weights"}


def test_the_teacher_is_frozen_and_evaluates(tiny):
    run, _ = train("cag", tiny.pair, 4)
    assert not any(p.requires_grad for p in run.teacher.parameters())
    assert not any(module.training for module in run.teacher.modules())
    assert all(module.training for module in run.segmenter.modules())


# -- the formulas, put together anew -----------------------------------------------------------------------------------


def joint_gradients(loss, net):
    return torch.autograd.grad(loss, list(net.parameters()))


def same_gradients(ours, theirs):
    scale = max(g.abs().max().item() for g in theirs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5 * scale)


def next_batch(run):
    """The batch that the run's next step will draw."""
    return copy.deepcopy(run)._next_batch()


def own(net, x, domain):
    """A forward in training mode with this domain's statistics."""
    for module in net.modules():
        if isinstance(module, DomainBatchNorm2d):
            module.domain = domain
    return net.train()(x)


@pytest.mark.parametrize("labels", ["anchors", "confidence", "both"])
@pytest.mark.parametrize("form", losses.DISTANCE_LOSSES)
def test_a_step_of_a_stage_descends_the_sum_of_the_four_terms(tiny, form, labels):
    run = make("cag", tiny.pair, {"distance": 0.3}, distance_loss=form, labels=labels, jitter="none")
    list(fit(run, 3))
    student, batch, s = copy.deepcopy(run.segmenter), next_batch(run), run.settings
    teacher = copy.deepcopy(run.teacher)
    for module in teacher.modules():
        if isinstance(module, DomainBatchNorm2d):
            module.domain = "target"
    with torch.no_grad():
        f, z = teacher(batch.x_t)
        d = (f[:, None] - run.anchors.a[None, :, :, None, None]).norm(dim=2)
        d[:, ~run.anchors.present] = math.inf
        first, second = d.sort(1).values.unbind(1)[:2]
        margin, s.confidence = (second - first).median(), z.softmax(1).amax(1).median().item()
        s.margin = (margin / torch.pdist(run.anchors.a[run.anchors.present]).quantile(0.5)).item()
        by_anchor = torch.where(second - first >= margin * (1 - 1e-5), d.argmin(1), IGNORE)
        by_confidence = torch.where(z.softmax(1).amax(1) > s.confidence, z.argmax(1), IGNORE)
    chosen = {"anchors": [by_anchor], "confidence": [by_confidence], "both": [by_anchor, by_confidence]}[labels]
    record = run.step()
    assert record.counts["active_pixels"] == (by_anchor != IGNORE).sum() > 0
    assert record.counts["confident_pixels"] == (by_confidence != IGNORE).sum() > 0

    f_s, z_s = own(student, batch.x_s, "source")
    f_t, z_t = own(student, batch.x_t, "target")
    large = F.interpolate(z_s, batch.y_s.shape[1:], mode="bilinear", align_corners=True)
    y = at_stride(batch.y_s, z_s)
    distance = losses.DISTANCE_LOSSES[form]
    right = (lambda y, z: y) if form == "pixel" else where_right
    terms = {
        "source_ce": F.cross_entropy(large, batch.y_s, ignore_index=IGNORE),
        "source_distance": distance(f_s, right(y, z_s), run.anchors),
        "target_ce": sum(F.cross_entropy(z_t, y, ignore_index=IGNORE) for y in chosen) / len(chosen),
        "target_distance": distance(f_t, right(by_anchor, z_t), run.anchors),
    }
    assert record.losses == pytest.approx({name: term.item() for name, term in terms.items()}, rel=1e-4)
    assert min(record.losses.values()) > 0
    loss = terms["source_ce"] + terms["target_ce"] + s.distance * (terms["source_distance"] + terms["target_distance"])
    same_gradients([p.grad for p in run.segmenter.parameters()], joint_gradients(loss, student))


def test_a_step_of_the_warm_up_descends_both_games(tiny):
    run = make("output_adversarial", tiny.pair, {"adversarial": 0.3}, jitter="none")
    list(fit(run, 2))
    student, judge, batch = copy.deepcopy(run.segmenter), copy.deepcopy(run.discriminator), next_batch(run)
    record = run.step()

    p_s = F.softmax(own(student, batch.x_s, "source")[1], 1)
    p_t = F.softmax(own(student, batch.x_t, "target")[1], 1)
    source_ce = losses.pixel_cross_entropy(own(copy.deepcopy(student), batch.x_s, "source")[1], batch.y_s)
    assert record.losses["source_ce"] == pytest.approx(source_ce.item(), rel=1e-4)
    adversarial = (judge(p_t) ** 2).mean()  # the target is to look like the source, whose label is 0
    discriminator = ((judge(p_s.detach()) ** 2).mean() + ((judge(p_t.detach()) - 1) ** 2).mean()) / 2
    assert record.losses["adversarial"] == pytest.approx(adversarial.item(), rel=1e-4)
    assert record.losses["discriminator"] == pytest.approx(discriminator.item(), rel=1e-4)
    same_gradients([p.grad for p in run.discriminator.parameters()], joint_gradients(discriminator, judge))
    loss = losses.pixel_cross_entropy(own(student, batch.x_s, "source")[1], batch.y_s) + 0.3 * adversarial
    same_gradients([p.grad for p in run.segmenter.parameters()], joint_gradients(loss, student))


# -- stages ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("warm_up", ["none", "adabn", "adversarial"])
def test_stages_renew_teacher_and_anchors_together_and_hold_them_in_between(tiny, warm_up):
    run, first = make("cag", tiny.pair, warm_up=warm_up), 5 if warm_up == "adversarial" else 3
    starts = {first: 1, first + 2: 2}  # steps that begin a stage
    for step in range(1, first + 6):  # two more than planned: the last stage goes on
        student, optimizer = copy.deepcopy(run), run.segmenter_opt
        if step == first and warm_up != "adversarial":
            student.separate_target_statistics(tiny.pair.target_train.x if warm_up == "adabn" else None)
        held = run.anchors, dict(run.made_from), copy.deepcopy(run.teacher.state_dict())
        record = run.step()
        if step in starts:
            assert (run.stage, run.stage_began) == (starts[step], step - 1)
            assert {k: run.made_from[k] for k in ("stage", "step")} == {"stage": starts[step], "step": step - 1}
            assert_same(run.teacher.state_dict(), student.segmenter.state_dict())
            assert_same(run.anchors.tensors(), run.measure_anchors(run.teacher).tensors())
            assert run.made_from["teacher"] != held[1].get("teacher")
            assert run.segmenter_opt is not optimizer
            assert {float(state["step"]) for state in run.segmenter_opt.state.values()} == {1.0}
            assert record.counts["classes_without_anchor"] == (~run.anchors.present).sum() >= 1  # no tree anywhere
        else:
            assert run.anchors is held[0]
            assert run.made_from == held[1]
            assert_same(run.teacher.state_dict(), held[2])
            assert run.segmenter_opt is optimizer
    assert run.stage == 2


def test_the_rate_is_that_of_the_phase(tiny):
    run, rates = make("cag", tiny.pair, warm_up="adversarial"), []
    for _ in fit(run, 7):
        rates.append(run.segmenter_opt.param_groups[0]["lr"])
        assert run.discriminator_opt.param_groups[0]["lr"] == run.settings.discriminator_learning_rate
    assert rates == [0.02] * 4 + [0.01] * 3


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_optimizer_is_the_one_asked_for(tiny, optimizer):
    run, _ = train("cag", tiny.pair, 3, optimizer=optimizer)
    group = run.segmenter_opt.param_groups[0]
    if optimizer == "sgd":
        assert isinstance(run.segmenter_opt, torch.optim.SGD)
        assert (group["momentum"], group["weight_decay"]) == (0.9, 2e-4)
    else:
        assert isinstance(run.segmenter_opt, torch.optim.AdamW)
    assert run.discriminator_opt.param_groups[0]["betas"] == (0.9, 0.99)


def test_before_the_first_stage_the_student_previews_the_labels(tiny):
    run, x = make("cag", tiny.pair), tiny.pair.target_train.x
    net, anchors = run.labelling_network()
    assert net is run.segmenter
    assert run.labelling_network()[1] is anchors  # measured once a step
    assert run.label(x, run.settings).distances.shape == (6, 4, 8, 8)
    run.step()
    assert run.labelling_network()[1] is not anchors
    list(fit(run, 2))
    assert run.labelling_network() == (run.teacher, run.anchors)


def test_the_margin_is_a_ratio_or_a_distance(tiny):
    run, _ = train("cag", tiny.pair, 3)
    absolute, _ = train("cag", tiny.pair, 3, margin_unit="absolute")
    gaps = torch.pdist(run.anchors.a[run.anchors.present])
    assert run.margin(run.settings) == pytest.approx(0.27 * gaps.quantile(0.5).item(), rel=1e-5)
    assert absolute.margin(absolute.settings) == 0.27


def test_anchors_are_weighted_as_the_config_says(tiny):
    image, pixel = (train("cag", tiny.pair, 3, anchor_weighting=w)[0].anchors for w in ("image", "pixel"))
    assert image.weight.max() <= 6 < pixel.weight.max()
    assert torch.equal(image.present, pixel.present)


# -- extremes: finite, and counted -------------------------------------------------------------------------------------


def test_a_margin_that_nothing_passes_leaves_the_source(tiny):
    run = make("cag", tiny.pair, {"margin": 100.0, "confidence": 1.0})
    record = list(fit(run, 3))[-1]
    assert record.losses["target_ce"] == record.losses["target_distance"] == 0
    assert record.losses["source_ce"] > 0
    assert [record.counts[name] for name in ("active_pixels", "confident_pixels", "target_class_means")] == [0, 0, 0]
    assert record.counts["classes_shut_out"] == run.anchors.present.sum()
    assert record.counts["stage"] == 1


@pytest.mark.parametrize("form", losses.DISTANCE_LOSSES)
def test_a_batch_without_labels_teaches_nothing_and_stays_finite(tiny, form):
    run = make("cag", tiny.pair, {"margin": 100.0, "confidence": 1.0}, distance_loss=form, jitter="none")
    list(fit(run, 3))
    batch = next_batch(run)
    terms = cag_step(run, run.settings, dataclasses.replace(batch, y_s=torch.full_like(batch.y_s, IGNORE)))
    assert {name: term.item() for name, term in terms.items()} == dict.fromkeys(terms, 0.0)
    assert run.counts.get("source_class_means", 0) == 0
    assert not any(p.grad.any() for p in run.segmenter.parameters())


def test_a_source_never_right_has_no_anchors_and_says_so(tiny):
    run = make("cag", tiny.pair)
    list(fit(run, 2))
    nn.init.zeros_(run.segmenter.classifier.weight)
    with torch.no_grad():
        run.segmenter.classifier.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 9.0]))  # always a tree
    record = run.step()
    assert record.counts["classes_without_anchor"] == 4
    assert record.counts["active_pixels"] == record.counts["source_class_means"] == 0
    assert record.counts["confident_pixels"] == 2 * 8 * 8
    assert all(math.isfinite(value) for value in record.losses.values())


# -- statistics of each domain -----------------------------------------------------------------------------------------


def test_a_pass_of_one_domain_leaves_the_statistics_of_the_other(tiny):
    run = make("cag", tiny.pair)
    for domain in ("source", "target", "source"):
        before = tensors(run)
        run.embed(tiny.pair.target_train.x, domain)
        assert what_moved(run, before) == {f"segmenter {domain} statistics"}


def test_shared_statistics_serve_both_domains(tiny):
    run = make("cag", tiny.pair, batch_norm="shared")
    for domain in ("source", "target"):
        before = tensors(run)
        run.embed(tiny.pair.target_train.x, domain)
        assert what_moved(run, before) == {"segmenter shared statistics"}
    list(fit(run, 4))
    x = tiny.pair.target_train.x
    assert torch.equal(run.features(x, "source"), run.features(x, "target"))
    before = tensors(run)
    run.separate_target_statistics(x)
    assert what_moved(run, before) == {"segmenter shared statistics"}


@pytest.mark.parametrize("steps", [0, 2])
def test_sharing_statistics_before_the_first_stage_is_having_shared_them_all_along(tiny, steps):
    apart, shared = make("cag", tiny.pair), make("cag", tiny.pair, batch_norm="shared")
    list(fit(apart, steps))
    run = copy.deepcopy(apart)
    share_statistics_(run.segmenter)
    list(fit(shared, length("adabn")))
    list(fit(run, length("adabn") - steps))
    list(fit(apart, length("adabn") - steps))
    x = tiny.pair.target_train.x
    for domain in ("source", "target"):
        assert torch.equal(run.features(x, domain), shared.features(x, domain))
    assert not torch.equal(run.features(x), apart.features(x))


def test_the_target_starts_from_the_sources_statistics_or_its_own(tiny):
    run, x = make("cag", tiny.pair), tiny.pair.target_train.x
    list(fit(run, 2))
    before = tensors(run)
    source = run.features(x, "source")
    assert torch.equal(run.features(x, "target"), source)  # it has not met the target yet
    run.separate_target_statistics()
    assert what_moved(run, before) == {"segmenter target statistics"}
    assert torch.equal(run.features(x, "target"), source)

    run.separate_target_statistics(x)
    assert torch.equal(run.features(x, "source"), source)
    assert not torch.equal(run.features(x, "target"), source)
    convolution, norm = run.segmenter.low[0][0], run.segmenter.low[0][1]["target"]
    seen = convolution(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(norm.running_mean, seen.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, seen.var((0, 2, 3)), rtol=1e-4, atol=1e-5)


class Files:
    """Samples that are read when they are indexed."""

    def __init__(self, x):
        self.x, self.reads = x, []

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        self.reads.append(len(i))
        return self.x[i]


def test_target_files_are_re_estimated_some_at_a_time_all_alike(tiny):
    """One alone would not do: the image pooling of DeepLab has one number per channel and image."""
    run = make("cag", tiny.pair)
    files = Files(tiny.pair.target_train.x[:5])
    run.separate_target_statistics(files)
    assert files.reads == [3, 2]
    by_files = run.segmenter.high[0][1]["target"].running_mean.clone()
    run.separate_target_statistics(Files(tiny.pair.target_train.x[:2]))
    assert not torch.equal(run.segmenter.high[0][1]["target"].running_mean, by_files)


@pytest.mark.parametrize(("warm_up", "re_estimated"), [("none", 0), ("adversarial", 0), ("adabn", 1)])
def test_only_one_warm_up_reads_the_whole_target_at_once(tiny, monkeypatch, warm_up, re_estimated):
    calls, module = [], import_module("uda_core.methods.segmentation")
    form = module.reestimate_
    monkeypatch.setattr(module, "reestimate_", lambda *args: (calls.append(1), form(*args))[1])
    train("cag", tiny.pair, length(warm_up), warm_up=warm_up)
    assert len(calls) == re_estimated


def test_source_only_never_looks_at_the_target(tiny):
    darker = dataclasses.replace(tiny.pair, target_train=Unlabelled(tiny.pair.target_train.x / 3))
    states = [state_bytes(train("source_only", pair, 4)[0]) for pair in (tiny.pair, darker)]
    assert states[0] == states[1]
    run, _ = train("source_only", tiny.pair, 4)
    x = tiny.pair.target_test.x
    assert torch.equal(run.features(x, "target"), run.features(x, "source"))
    assert torch.equal(run.predict(x, "target")[0], run.predict(x, "source")[0])


def test_source_only_has_a_segmenter_and_nothing_of_cag(tiny):
    run, cag = make("source_only", tiny.pair), make("cag", tiny.pair)
    assert not {"teacher", "anchors", "discriminator", "discriminator_opt", "stage", "made_from"} & vars(run).keys()
    saved = {name for name, part in run.state_dict().items() if isinstance(part, dict)}
    assert saved == {"segmenter", "segmenter_opt", "config", "settings", "counts", "batches"}

    def parameters(run):
        return sum(p.numel() for name in run.NETWORK_NAMES for p in getattr(run, name).parameters())

    assert parameters(run) == sum(p.numel() for p in run.segmenter.parameters())
    assert parameters(cag) - parameters(run) == 181_573  # teacher and discriminator


def test_the_source_phase_of_cag_is_source_only(tiny):
    run, records = train("cag", tiny.pair, 2)
    only, same = train("source_only", tiny.pair, 2)
    assert [record.losses for record in records] == [record.losses for record in same]
    assert_same(run.segmenter.state_dict(), only.segmenter.state_dict())


@pytest.mark.parametrize("batch_norm", ["per-domain", "shared"])
def test_a_run_with_adabn_is_a_copy_with_target_statistics(tiny, batch_norm):
    run, _ = train("cag", tiny.pair, 2, batch_norm=batch_norm)
    x, before = tiny.pair.target_test.x, state_bytes(run)
    old = run.predict(x)[0], run.predict(x, "source")[0], run.labelling_network()[1]
    adapted = adabn(run)
    assert torch.equal(adapted.predict(x, "source")[0], old[1]) == (batch_norm == "per-domain")
    assert not torch.equal(adapted.predict(x)[0], old[0])
    assert torch.equal(adapted.labelling_network()[1].a, old[2].a) == (
        batch_norm == "per-domain"
    )  # anchors are the source's
    assert torch.equal(run.predict(x)[0], old[0])
    assert state_bytes(run) == before
    assert all(
        torch.equal(a, b) for a, b in zip(run.segmenter.parameters(), adapted.segmenter.parameters(), strict=True)
    )
    of_others = adabn(run, tiny.pair.source_val.x)
    assert not torch.equal(of_others.predict(x)[0], adapted.predict(x)[0])


# -- jitter ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("jitter", "domains"),
    [("none", []), ("source", ["source"]), ("target", ["target"]), ("both", ["source", "target"])],
)
def test_only_the_students_images_of_these_domains_are_jittered(tiny, monkeypatch, jitter, domains):
    run = make("cag", tiny.pair, jitter=jitter)
    list(fit(run, 3))
    batch, seen = next_batch(run), []
    images = {"source": batch.x_s, "target": batch.x_t}
    which = lambda x: next(domain for domain, y in images.items() if torch.equal(x, y))  # noqa: E731
    module = import_module("uda_core.methods.segmentation")
    monkeypatch.setattr(module, "photometric_jitter", lambda x: (seen.append(which(x)), photometric_jitter(x))[1])
    taught = []
    run.teacher.register_forward_pre_hook(lambda _, args: taught.append(which(args[0])))
    run.step()
    assert seen == domains
    assert taught == ["target"]  # as it is


def test_jitter_changes_colours_image_by_image():
    x = torch.full((3, 3, 4, 4), 0.5) * torch.tensor([1.0, 0.6, 0.3])[:, None, None]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        y = photometric_jitter(x)
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    assert 0 <= y.min() <= y.max() <= 1
    assert len({tuple(image[:, 0, 0].tolist()) for image in y}) == 3
    assert (y.std((2, 3)) < 1e-5).all()  # colours only


# -- evaluating, repeating, resuming ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "warm_up", "batch_norm"), [*((*both, "per-domain") for both in ALL), ("cag", "adversarial", "shared")]
)
def test_evaluating_changes_nothing(tiny, method, warm_up, batch_norm):
    """Not weights, statistics, random states or modes, nor which domain's statistics the next step uses."""
    config, steps, x = {"warm_up": warm_up, "batch_norm": batch_norm}, length(warm_up), tiny.pair.target_test.x
    unwatched, records = train(method, tiny.pair, steps, **config)
    watched = make(method, tiny.pair, **config)
    for record in records:
        before, random_state = state_bytes(watched), torch.get_rng_state()
        modes = [module.training for module in watched.segmenter.modules()]
        adabn(watched)
        if method == "cag":
            net, anchors = watched.labelling_network()
            label = watched.label(x, watched.settings)
            assert label.by_anchor.shape == label.by_confidence.shape == (6, 8, 8)
            assert_same(watched.measure_anchors(net).tensors(), anchors.tensors())
        for domain in ("source", "target") if record.step % 2 else ("target", "source"):
            assert watched.features(x, domain).shape == (6, 32, 8, 8)
            (z,) = watched.predict(x, domain)
            assert z.shape == (6, 4, 32, 32)
            assert not z.requires_grad
        assert state_bytes(watched) == before
        assert torch.equal(torch.get_rng_state(), random_state)
        assert [module.training for module in watched.segmenter.modules()] == modes
        assert watched.step() == record
    assert state_bytes(watched) == state_bytes(unwatched)


def test_many_images_are_evaluated_as_few_are(tiny):
    run, _ = train("cag", tiny.pair, 3)
    x = tiny.pair.target_test.x.repeat(4, 1, 1, 1)
    one_by_one = torch.cat([run.features(image[None]) for image in x])
    torch.testing.assert_close(run.features(x), one_by_one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("method", "warm_up"), ALL)
def test_the_same_seed_gives_the_same_numbers(tiny, method, warm_up):
    steps = length(warm_up)
    (a, records), (b, again) = (train(method, tiny.pair, steps, warm_up=warm_up) for _ in range(2))
    assert records == again
    assert state_bytes(a) == state_bytes(b)
    assert train(method, tiny.pair, 1, warm_up=warm_up, seed=1)[1] != records[:1]
    a.reset()
    assert (a.steps, a.has_target_statistics, a.counts) == (0, False, {})
    if method == "cag":
        assert (a.stage, a.anchors, a.made_from) == (0, None, {})
    assert list(fit(a, steps)) == records


@pytest.mark.parametrize(("method", "warm_up"), ALL)
def test_a_run_goes_on_bit_for_bit_from_any_step(tiny, tmp_path, method, warm_up):
    whole, records, steps = make(method, tiny.pair, warm_up=warm_up), [], length(warm_up)
    for step in range(steps):
        checkpoints.save(whole, tmp_path / f"{step}.pt")
        records.append(whole.step())
    for step in range(0, steps, 1 if method == "cag" else 3):
        resumed = make(method, tiny.pair, {"learning_rate": 0.1}, seed=7, batch_size=3)
        checkpoints.load(tmp_path / f"{step}.pt", resumed)
        assert list(fit(resumed, steps - step)) == records[step:]
        assert_same(resumed.state_dict(), whole.state_dict())


@pytest.fixture(scope="module")
def two_states(tiny):
    return [train("cag", tiny.pair, 4, seed=seed)[0].state_dict() for seed in (0, 1)]


def test_checkpoints_record_what_teacher_and_anchors_were_made_from(two_states):
    a, b = (state["made_from"] for state in two_states)
    assert a.keys() == {"stage", "step", "teacher", "anchors"}
    assert (a["stage"], a["step"]) == (b["stage"], b["step"]) == (1, 2)
    assert a["teacher"] != b["teacher"]
    assert a["anchors"] != b["anchors"]


@pytest.mark.parametrize(
    "mixed", [["teacher"], ["anchors"], ["made_from"], ["teacher", "made_from"], ["anchors", "made_from"]]
)
def test_a_teacher_and_anchors_of_two_checkpoints_are_refused(tiny, tmp_path, two_states, mixed):
    a, b = two_states
    path, run = tmp_path / "mixed.pt", make("cag", tiny.pair)
    torch.save(a | {part: b[part] for part in mixed}, path)
    before = copy.deepcopy(run.state_dict())
    with pytest.raises(UserError, match=r"mixed\.pt: .*teacher and anchors are not of one checkpoint") as caught:
        checkpoints.load(path, run)
    assert "\n" not in str(caught.value)
    assert_same(run.state_dict(), before)
    torch.save(a | {part: b[part] for part in ("teacher", "anchors", "made_from")}, path)
    checkpoints.load(path, run)


# -- nothing that trains sees the truth --------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "warm_up"), ALL)
def test_a_poisoned_truth_changes_no_byte(tiny, tmp_path, method, warm_up):
    """With the truth scored in between, as a board does when its labels are revealed."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda y: torch.randint(4, y.shape, generator=generator, dtype=torch.uint8)  # noqa: E731
    poisoned = Task(tiny.pair, Truth(draw(tiny.truth.target_train), draw(tiny.truth.target_test)), tiny.metric)
    files, scores = [tmp_path / "clean.pt", tmp_path / "poisoned.pt"], []
    for task, path in zip((tiny, poisoned), files, strict=True):
        run = make(method, task.pair, warm_up=warm_up)
        for _ in fit(run, length(warm_up)):
            scores.append(evaluate(run, task).score)
        checkpoints.save(run, path)
    assert files[0].read_bytes() == files[1].read_bytes()
    half = len(scores) // 2
    assert scores[:half] != scores[half:]


# -- update ------------------------------------------------------------------------------------------------------------


def test_losses_one_after_the_other_give_the_gradients_of_their_sum():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double()
        extra = nn.Linear(2, 2).double()  # only the second loss reaches it
        x = torch.randn(2, 4, 3, dtype=torch.float64)

    def parts(net, extra):
        yield net(x[0]).square().mean()
        yield 0.3 * extra(net(x[1])).sin().sum()

    weights = [*net.parameters(), *extra.parameters()]
    expected = torch.autograd.grad(sum(parts(net, extra)), weights)
    bystander = nn.Linear(2, 2)
    bystander.weight.grad = torch.ones(2, 2)
    for form in (parts, lambda *nets: list(parts(*nets)), lambda *nets: sum(parts(*nets))):
        a, b = copy.deepcopy(net), copy.deepcopy(extra)
        optimizers = [torch.optim.SGD(module.parameters(), lr=0.5) for module in (a, b)]
        for _ in range(2):  # what an update before left behind does not count
            a.load_state_dict(net.state_dict())
            b.load_state_dict(extra.state_dict())
            update(form(a, b), *optimizers)
        ours = [*a.parameters(), *b.parameters()]
        for p, gradient, start in zip(ours, expected, weights, strict=True):
            torch.testing.assert_close(p.grad, gradient, rtol=1e-12, atol=1e-15)
            torch.testing.assert_close(p, start - 0.5 * gradient, rtol=1e-12, atol=1e-15)
    assert bystander.weight.grad.sum() == 4


def test_one_domain_after_the_other_keeps_little_more_than_half(monkeypatch):
    pair = tiny_task(size=(64, 128)).pair  # of smaller images the weights are most of what is kept
    peaks, module = [], import_module("uda_core.methods.cag")
    kept = lambda loss, optimizer: [loss]  # noqa: E731 - the graph of the source's loss, for one joint backward
    joint = lambda loss, optimizer, plus: update(loss + plus[0], optimizer)  # noqa: E731
    for forms in ({}, {"gradients": kept, "update": joint}):
        for name, form in forms.items():
            monkeypatch.setattr(module, name, form)
        run = make("cag", pair)
        list(fit(run, 3))
        with saved_tensors() as peak:
            record = run.step()
        peaks.append((peak(), record.losses))
    (apart, same), (joint, losses_) = peaks
    assert same == losses_
    assert apart <= 0.6 * joint


def test_learning_rates_fall_as_published_in_each_phase_anew(tiny):
    """Two steps on the source, then two stages of two steps."""
    run, rates = make("cag", tiny.pair, decay_steps=8, stage_decay_steps=4), []
    for _ in range(6):
        run.step()
        rates += [opt.param_groups[0]["lr"] for opt in (run.segmenter_opt, run.discriminator_opt)]
    falls = torch.tensor([1, 7 / 8, 1, 3 / 4, 1, 3 / 4]) ** 0.9
    bases = torch.tensor([[0.02, 1e-4], [0.02, 1e-4], *[[0.01, 1e-4]] * 4])
    torch.testing.assert_close(torch.tensor(rates).view(6, 2), bases * falls[:, None])
    run = train("cag", tiny.pair, 2, decay_steps=1)[0]
    assert run.segmenter_opt.param_groups[0]["lr"] == 0  # not below


# -- precision, configuration ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("warm_up", ["adabn", "adversarial"])
def test_bfloat16_is_finite_and_compares_in_float32(tiny, warm_up):
    run, records = train("cag", tiny.pair, length(warm_up), warm_up=warm_up, precision="bf16")
    assert all(math.isfinite(value) for record in records for value in record.losses.values())
    x = tiny.pair.target_test.x
    f, z = run.features_and_logits(x)
    d = run.label(x, run.settings).distances
    assert {t.dtype for t in (f, z, d, run.anchors.a, *run.segmenter.parameters())} == {torch.float32}
    assert torch.equal(f.bfloat16().float(), f)  # the network itself is in half precision
    single = train("cag", tiny.pair, length(warm_up), warm_up=warm_up)[0]
    assert not torch.equal(single.features(x), run.features(x))


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"batch_norm": "per_domain"}, "unknown batch_norm 'per_domain'.*Did you mean 'per-domain'"),
        ({"warm_up": "adversarail"}, "unknown warm_up.*Did you mean 'adversarial'"),
        ({"labels": "anchor"}, "unknown labels.*Did you mean 'anchors'"),
        ({"distance_loss": "pixels"}, "unknown distance_loss.*Did you mean 'pixel'"),
        ({"anchor_weighting": "class"}, "unknown anchor_weighting 'class'; known: image, pixel"),
        ({"decay_steps": -1}, "decay_steps must lie between 0 and 1000000000, got -1"),
        ({"margin_unit": "metres"}, "unknown margin_unit 'metres'; known: ratio, absolute"),
        ({"jitter": "targets"}, "unknown jitter.*Did you mean 'target'"),
        ({"optimizer": "adam"}, "unknown optimizer.*Did you mean 'adamw'"),
        ({"features": -1}, "features must lie between 0 and 100000, got -1"),
        ({"batch_size": 1}, "batch_size must lie between 2 and"),
    ],
)
def test_a_bad_config_is_refused(config, says):
    with pytest.raises(UserError, match=says):
        CAGConfig(**config)


def test_an_unknown_network_and_setting_are_refused(tiny):
    with pytest.raises(UserError, match=r"unknown network 'smal'.*Did you mean 'small'"):
        make("cag", tiny.pair, network="smal")
    with pytest.raises(UserError, match=r"unknown setting 'distence'.*Did you mean 'distance'"):
        make("cag", tiny.pair, {"distence": 1.0})
    assert make("cag", tiny.pair, features=24).features(tiny.pair.target_test.x).shape[1] == 24


def test_methods_refuse_labels_of_the_other_kind(tiny, moons_task):
    for method in ("mcd", "swd", "cgdm"):
        with pytest.raises(UserError, match=f"{method} classifies whole images, but tiny has a label for each pixel"):
            methods.CLASSIFICATION[method](tiny.pair)
    for method in ("output_adversarial", "cag"):
        with pytest.raises(UserError, match=f"{method} labels pixels, but moons has one label"):
            SEGMENTATION[method](moons_task.pair)
    assert isinstance(methods.SourceOnly(tiny.pair, SegmentationConfig(batch_size=2)).config, SegmentationConfig)


def test_the_config_of_the_other_kind_is_refused(tiny, moons_task):
    with pytest.raises(UserError, match="source_only needs a SegmentationConfig here, got a Config"):
        methods.SourceOnly(tiny.pair, methods.Config())
    with pytest.raises(UserError, match="source_only needs a Config here, got a SegmentationConfig"):
        methods.SourceOnly(moons_task.pair, SegmentationConfig())
    run = make("cag", tiny.pair)
    with pytest.raises(UserError, match="cag needs a CAGConfig here, got a Config"):
        run.reset(methods.Config())
    run.step()  # nothing has changed


def test_batches_hold_labels_as_whole_numbers(tiny):
    batch = make("cag", tiny.pair)._next_batch()
    assert isinstance(batch, Batch)
    assert batch.y_s.dtype == torch.int64
    assert batch.y_s.shape == (2, 32, 32)


def test_images_too_small_for_the_discriminator_are_refused():
    run = make("output_adversarial", tiny_task(size=(24, 32)).pair)
    with pytest.raises(UserError, match="maps of 6x8 are too small for the discriminator, it needs 8: enlarge images"):
        run.step()
