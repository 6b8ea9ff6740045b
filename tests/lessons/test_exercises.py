"""Checkers know the right answer in any spelling and name each mistake; help ends in the solution.

The exercises of lessons 01 and 03 stand here; the answers for the others in `answers_*.py`.
"""

import answers_anchor_alignment
import answers_category_anchors
import answers_choosing
import answers_gradient_discrepancy
import answers_matching_crowds
import answers_own_domains
import answers_pseudo_labels
import pytest
import torch
from torch.nn import functional as F

from uda_core.errors import UserError
from uda_core.losses import classifier_discrepancy, entropy
from uda_core.methods.classification import ce
from uda_core.methods.mcd import mcd_step
from uda_core.models.batch_norm import batch_norms, reestimate_
from uda_core.samples import IGNORE
from uda_core.training import update
from uda_lessons.exercises import check, dialogue, hint, reveal
from uda_lessons.exercises.catalog import EXERCISES
from uda_lessons.exercises.exercise import verdict_on


def cumulative(net, x):
    """Re-estimation by torch's own running average over one batch."""
    net.eval()
    for norm in batch_norms(net):
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    net(x)
    net.eval()


def layer_by_layer(net, x):
    """Re-estimation by hand."""
    net.eval()
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, torch.nn.BatchNorm1d):
                layer.running_mean = x.mean(0)
                layer.running_var = x.var(0)
            x = layer(x)


def step_without_detach(run, s, batch):
    """MCD's step with B's gradient taken, and thrown away, through the features."""
    z_s, z_t = run.classify(run.embed(batch.x_s, batch.x_t))
    update(ce(z_s, batch.y_s), run.features_opt, run.heads_opt)
    z_s, z_t = run.classify(run.embed(batch.x_s, batch.x_t))
    update(-s.discrepancy * classifier_discrepancy(*z_t) + ce(z_s, batch.y_s), run.heads_opt)
    for _ in range(s.k):
        z_t = run.classify(run.embed(batch.x_s, batch.x_t))[1]
        update(s.discrepancy * classifier_discrepancy(z_t[1], z_t[0]), run.features_opt)


def step_with_backward(run, s, batch):
    """MCD's step in the spelling of a plain torch script."""

    def go(loss, *optimizers):
        run.features_opt.zero_grad()
        run.heads_opt.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()

    def logits():
        return run.classify(run.embed(batch.x_s, batch.x_t))

    go(ce(logits()[0], batch.y_s), run.features_opt, run.heads_opt)
    z_s, z_t = logits()
    go(ce(z_s, batch.y_s) - s.discrepancy * F.l1_loss(z_t[0].softmax(1), z_t[1].softmax(1)), run.heads_opt)
    for _ in range(s.k):
        z_t = logits()[1]
        go(s.discrepancy * F.l1_loss(z_t[0].softmax(1), z_t[1].softmax(1)), run.features_opt)


SPELLINGS = {
    "entropy": [
        entropy,
        lambda z: -(z.softmax(1) * z.log_softmax(1)).sum(1),
        lambda z: torch.distributions.Categorical(logits=z).entropy(),
        lambda z: (F.softmax(z, dim=-1) * -F.softmax(z, dim=-1).clamp_min(1e-8).log()).sum(-1),
        lambda z: -torch.einsum("bc,bc->b", z.softmax(1), (z.softmax(1) + 1e-10).log()),
        lambda z: torch.logsumexp(z, 1) - (z.softmax(1) * z).sum(1),
    ],
    "reestimate": [reestimate_, cumulative, layer_by_layer],
    "classifier_discrepancy": [
        classifier_discrepancy,
        lambda z1, z2: F.l1_loss(z1.softmax(1), z2.softmax(1)),
        lambda z1, z2: torch.mean(torch.abs(F.softmax(z2, dim=1) - F.softmax(z1, dim=1))),
        lambda z1, z2: (z1.softmax(-1) - z2.softmax(-1)).abs().sum() / z1.numel(),
        lambda z1, z2: (z1.float().softmax(1) - z2.float().softmax(1)).abs().mean(),
    ],
    "mcd_step": [mcd_step, step_without_detach, step_with_backward],
}
MISTAKES = [(e, m) for e in EXERCISES.values() for m in e.mistakes]


LESSONS = (
    answers_matching_crowds, answers_pseudo_labels, answers_gradient_discrepancy, answers_category_anchors,
    answers_anchor_alignment, answers_choosing, answers_own_domains,
)  # fmt: skip
RIGHT = [
    (name, answer)
    for spellings in (SPELLINGS, *(lesson.RIGHT for lesson in LESSONS))
    for name, answers in spellings.items()
    for answer in answers
]
WRONG = [wrong for lesson in LESSONS for wrong in lesson.WRONG]


@pytest.mark.parametrize(("name", "answer"), RIGHT)
@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph=True")
def test_right_answers_pass_in_every_spelling(name, answer, capsys):
    assert check(name, answer)
    assert capsys.readouterr().out.startswith("Correct: ")


@pytest.mark.parametrize(("exercise", "mistake"), MISTAKES, ids=[f"{e.name}-{m.hint[:40]}" for e, m in MISTAKES])
def test_each_mistake_is_named(exercise, mistake):
    verdict = verdict_on(mistake.wrong, exercise)
    assert not verdict
    assert verdict.reason == mistake.hint


@pytest.mark.parametrize(("name", "answer", "reason"), WRONG)
def test_wrong_answers_get_a_reason(name, answer, reason):
    verdict = verdict_on(answer, EXERCISES[name])
    assert not verdict
    assert reason in verdict.reason


def test_the_noise_case_tells_floors_apart():
    """The row of rounding noise must be short enough for our floor and long enough for today's torch to scale it up."""
    a, b = EXERCISES["row_cosine"].cases()[2]
    assert abs(F.cosine_similarity(a, b, dim=1)[2]) > 0.1
    assert a[2].norm() * b[2].norm() < 1e-8


def test_the_two_kinds_of_labels_differ_where_steps_are_compared():
    """Each kind labels some pixels that the other does not, or mistakes could not be told apart."""
    run, s, batch = EXERCISES["cag_step"].cases()[0]
    y_hat = run.label(batch.x_t, s)
    active, confident = y_hat.by_anchor != IGNORE, y_hat.by_confidence != IGNORE
    for some in (active & ~confident, confident & ~active, active & confident, ~active & ~confident):
        assert some.float().mean() > 0.02
    assert run.anchors.present.sum() >= 3


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_an_exercise_knows_enough(exercise):
    assert verdict_on(exercise.reference, exercise)
    assert len({mistake.hint for mistake in exercise.mistakes}) == len(exercise.mistakes) >= 4
    assert len(exercise.hints) >= 2


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda z1, z2: None, "returns nothing so far"),
        (lambda z1, z2: ..., "returns nothing so far"),
        (lambda z1, z2: "0.3", "returns a str"),
        (lambda z1: z1, "stops with TypeError"),
        (lambda z1, z2: z1 @ z2, "stops with RuntimeError"),
        (lambda z1, z2: z1 / 0 * 0, "expected shape [], got [6, 4]"),
        (lambda z1, z2: (z1 * torch.nan).mean(), "NaN or infinity"),
        (lambda z1, z2: classifier_discrepancy(z1, z2).expand(2), "expected shape [], got [2]"),
        (lambda z1, z2: 3 * classifier_discrepancy(z1, z2), "expected 0."),
        (lambda z1, z2: classifier_discrepancy(z1, z2).item(), "both heads are detached"),
        (lambda z1, z2: classifier_discrepancy(z1, z2).detach().numpy(), "both heads are detached"),
        (lambda z1, z2: classifier_discrepancy(z1.detach(), z2) + 0 * z1.sum(), "no gradient reaches head 1"),
        (lambda z1, z2: classifier_discrepancy(z1, 2 * z2 - z2.detach()), "its gradient is not"),
        (classifier_discrepancy(torch.zeros(1, 2), torch.ones(1, 2)), "expected a function, got a Tensor"),
    ],
)
def test_whatever_an_answer_does_the_verdict_is_one_line(answer, reason, capsys):
    assert not check("classifier_discrepancy", answer)
    out = capsys.readouterr().out
    assert out.startswith("Not yet: ")
    assert out.count("\n") == 1
    assert reason in out


def test_a_gradient_that_is_not_a_number_is_seen():
    assert (
        "gradient holds NaN"
        in verdict_on(lambda z: torch.special.entr(z.softmax(1)).sum(1), EXERCISES["entropy"]).reason
    )


def test_a_verdict_leaves_the_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    verdict_on(lambda z1, z2: torch.rand(()), EXERCISES["classifier_discrepancy"])
    assert torch.rand(1) == expected


def test_a_picture_stands_beside_a_wrong_answer_of_the_right_shape(monkeypatch):
    shown = []
    monkeypatch.setattr(dialogue, "display", shown.append)
    check("entropy", lambda z: -entropy(z))
    check("entropy", lambda z: entropy(z).mean())
    assert len(shown) == 1


def test_buttons_help_where_somebody_watches(monkeypatch):
    shown = []
    monkeypatch.setattr(dialogue, "display", shown.append)
    monkeypatch.setattr(dialogue, "_hints_given", {})
    monkeypatch.setattr(dialogue.kernel, "is_live", lambda: True)
    check("mcd_step", lambda run, s, batch: None)
    buttons, words = shown[0].children
    ask, show = buttons.children
    ask.click()
    assert "Hint 1 of 3" in words.value
    show.click()
    assert "def mcd_step(" in words.value


def test_hints_come_one_by_one_and_end_in_the_solution(capsys, monkeypatch):
    monkeypatch.setattr(dialogue, "_hints_given", {})
    for _ in range(4):
        hint("entropy")
    lines = capsys.readouterr().out.splitlines()
    assert [line.startswith(f"Hint {i} of 3: ") for i, line in enumerate(lines, 1)] == [True] * 3 + [False]
    assert 'reveal("entropy")' in lines[3]


def test_reveal_shows_the_source_that_the_package_runs(capsys):
    reveal("classifier_discrepancy")
    out = capsys.readouterr().out
    assert "uda_core.losses.classifier_discrepancy" in out
    assert "return (z1.softmax(1) - z2.softmax(1)).abs().mean()" in out


def test_an_unknown_exercise_is_a_slip_of_the_notebook():
    with pytest.raises(UserError, match=r"unknown exercise 'entorpy'.*Did you mean 'entropy'"):
        check("entorpy", entropy)
