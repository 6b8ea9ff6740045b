"""Checkers know the right answer in any spelling and name each mistake; help ends in the solution.

The exercises of lessons 01 and 03 stand here; the answers for the others in `answers_*.py`.
"""

import inspect
import math
import sys
from pathlib import Path

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
from uda_lessons.exercises.exercise import Exercise, verdict_on
from uda_lessons.teaching.grade import load_exercises


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


def step_that_freezes_for_a_while(run, s, batch):
    """MCD's step by hand-made freezing, which it takes back."""
    logits = lambda: run.classify(run.embed(batch.x_s, batch.x_t))  # noqa: E731
    update(ce(logits()[0], batch.y_s), run.features_opt, run.heads_opt)
    z_s, z_t = logits()
    update(ce(z_s, batch.y_s) - s.discrepancy * classifier_discrepancy(*z_t), run.heads_opt)
    run.heads.requires_grad_(False)
    for _ in range(s.k):
        update(s.discrepancy * classifier_discrepancy(*logits()[1]), run.features_opt)
    run.heads.requires_grad_(True)


def mcd_with(
    b=-1.0, fit=1.0, b_moves=("heads_opt",), c=1.0, c_fit=0.0, c_moves=("features_opt",), more=0, domain=1, then=None
):
    """MCD's step with other counts of discrepancy and cross-entropy, other movers, more or fewer C, and a leftover."""

    def step(run, s, batch):
        def loss(of_ce, sign):
            z = run.classify(run.embed(batch.x_s, batch.x_t))
            return of_ce * ce(z[0], batch.y_s) + sign * s.discrepancy * classifier_discrepancy(*z[domain])

        update(loss(1.0, 0.0), run.features_opt, run.heads_opt)
        if b is not None:
            update(loss(fit, b), *(getattr(run, name) for name in b_moves))
        for _ in range(s.k + more):
            update(loss(c_fit, c), *(getattr(run, name) for name in c_moves))
        if then:
            then(run, s)

    return step


def on_one_graph(run, s, batch):
    z_s, z_t = run.classify(run.embed(batch.x_s, batch.x_t))
    update(ce(z_s, batch.y_s), run.features_opt, run.heads_opt)
    update(ce(z_s, batch.y_s) - s.discrepancy * classifier_discrepancy(*z_t), run.heads_opt)


def pass_with(prepare, momentum=None, mode=True):
    """One pass of x after `prepare(net)`, with this momentum."""

    def reestimate(net, x):
        net.eval()
        prepare(net)
        for norm in batch_norms(net):
            norm.train(mode)
            norm.momentum = momentum
        net(x)
        net.eval()

    return reestimate


BOTH = "features_opt", "heads_opt"
EARLY = [
    ("entropy", lambda z: -entropy(z), "minus the target"),
    ("entropy", lambda z: entropy(z) / 2, "the target times 0.5"),
    ("entropy", lambda z: entropy(z).mean(), "the mean of all numbers of the target"),
    ("entropy", lambda z: entropy(z)[:, None], "the numbers are right, but in shape [5, 1]"),
    ("entropy", lambda z: entropy(z) / torch.tensor(2.0).log(), "as with log2 in place of log"),
    ("entropy", lambda z: entropy(z) / torch.tensor(z.shape[1]).log(), "1 / log(z.shape[1])"),
    ("entropy", lambda z: entropy(z.softmax(1)), "for z.softmax(1) in place of z"),
    ("entropy", lambda z: entropy(z).sort(descending=True).values.flip(0), "but not their order"),
    ("entropy", lambda z: entropy(z).tolist(), "returns a list"),
    ("entropy", lambda z: entropy(z.sub_(z.amax(1, keepdim=True))), "writes into z"),
    ("entropy", lambda z: sys.exit("bye"), "stops with SystemExit: bye"),
    ("reestimate", pass_with(lambda net: None), "momentum = None averages over all batches"),
    ("reestimate", pass_with(lambda net: None, 0.0), "momentum 0"),
    ("reestimate", pass_with(lambda net: None, 1.0, mode=False), "in evaluation mode"),
    ("reestimate", pass_with(lambda net: [n.reset_parameters() for n in batch_norms(net)], 1.0), "reset_parameters()"),
    ("reestimate", pass_with(lambda net: setattr(net[3], "p", 0.0), 1.0), "dropout itself"),
    ("reestimate", pass_with(lambda net: net.__setitem__(3, torch.nn.Identity()), 1.0), "dropout itself"),
    ("reestimate", pass_with(lambda net: net.requires_grad_(False), 1.0), "you leave weights frozen"),
    ("reestimate", pass_with(lambda net: net[0].weight.data.zero_(), 1.0), "not what they should be: 0.weight, 1."),
    ("classifier_discrepancy", lambda z1, z2: -classifier_discrepancy(z1, z2), "minus the target"),
    ("classifier_discrepancy", lambda z1, z2: len(z1) * classifier_discrepancy(z1, z2), "times z1.shape[0]"),
    ("classifier_discrepancy", lambda z1, z2: z1.numel() * classifier_discrepancy(z1, z2), "times z1.numel()"),
    ("mcd_step", mcd_with(b=None, more=-9), "your step makes 2 moves: B is missing"),
    ("mcd_step", mcd_with(more=-9), "your step makes 3 moves: C is missing"),
    ("mcd_step", mcd_with(b=None), "the move of heads_opt in B is missing"),
    ("mcd_step", mcd_with(b=1.0), "in B, the target discrepancy counts 2 times, expected -2: minus"),
    ("mcd_step", mcd_with(c=-1.0), "in C, the target discrepancy counts -2 times, expected 2: plus"),
    ("mcd_step", mcd_with(b_moves=BOTH), "in B, heads_opt should move, but you have features_opt following +1 source"),
    ("mcd_step", mcd_with(c_moves=BOTH), "heads that move come to agree by themselves"),
    ("mcd_step", mcd_with(c_moves=("heads_opt",)), "in C, features_opt should move"),
    ("mcd_step", mcd_with(fit=0.0), "in B, the source cross-entropy counts 0 times"),
    ("mcd_step", mcd_with(c_fit=1.0), "in C, the source cross-entropy counts 1 times, expected 0"),
    ("mcd_step", mcd_with(domain=0), "the source discrepancy counts -2 times, expected 0"),
    ("mcd_step", mcd_with(more=1), "goes on after its end: features_opt following +2 target discrepancy"),
    ("mcd_step", on_one_graph, "a graph that the first one has used up"),
    ("mcd_step", mcd_with(then=lambda run, s: run.heads.requires_grad_(False)), "the weights of heads_opt frozen"),
    ("mcd_step", mcd_with(then=lambda run, s: run.heads.eval()), "something is left changed"),
    ("mcd_step", mcd_with(then=lambda run, s: setattr(s, "discrepancy", 1.0)), "your step changes s"),
]


SPELLINGS = {
    "entropy": [
        entropy,
        lambda z: -(z.softmax(1) * z.log_softmax(1)).sum(1),
        lambda z: torch.distributions.Categorical(logits=z).entropy(),
        lambda z: (F.softmax(z, dim=-1) * -F.softmax(z, dim=-1).clamp_min(1e-8).log()).sum(-1),
        lambda z: -torch.einsum("bc,bc->b", z.softmax(1), (z.softmax(1) + 1e-10).log()),
        lambda z: torch.logsumexp(z, 1) - (z.softmax(1) * z).sum(1),
        lambda z: torch.special.entr(z.softmax(1)).sum(1),
        lambda z: entropy(z.detach()),
        lambda z: entropy(z).numpy(),
    ],
    "reestimate": [reestimate_, cumulative, layer_by_layer],
    "classifier_discrepancy": [
        classifier_discrepancy,
        lambda z1, z2: F.l1_loss(z1.softmax(1), z2.softmax(1)),
        lambda z1, z2: torch.mean(torch.abs(F.softmax(z2, dim=1) - F.softmax(z1, dim=1))),
        lambda z1, z2: (z1.softmax(-1) - z2.softmax(-1)).abs().sum() / z1.numel(),
        lambda z1, z2: (z1.float().softmax(1) - z2.float().softmax(1)).abs().mean(),
    ],
    "mcd_step": [mcd_step, step_without_detach, step_with_backward, step_that_freezes_for_a_while],
}
GRADING = Path(__file__).parents[2] / "docs" / "teaching" / "grading"
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
WRONG = [*EARLY, *(wrong for lesson in LESSONS for wrong in lesson.WRONG)]


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


@pytest.mark.parametrize("name", [name for name in EXERCISES if name != "cag_step"])
@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph=True")
def test_cases_of_another_seed_tell_the_same(name):
    """As `uda grade` makes them: no spelling is wrong there, and each mistake keeps its name."""
    exercise = load_exercises(1009, GRADING)[name]
    assert all(verdict_on(answer, exercise) for of, answer in RIGHT if of == name)
    assert [verdict_on(m.wrong, exercise).reason for m in exercise.mistakes] == [m.hint for m in exercise.mistakes]


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
    assert len({mistake.hint for mistake in exercise.mistakes}) == len(exercise.mistakes)
    assert len(exercise.mistakes) >= 4 or exercise.name in ("mcd_step", "cag_step", "category_anchors")  # they explain
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
        (lambda z1, z2: classifier_discrepancy(z1, z2).expand(2), "the target is the first entry of yours"),
        (lambda z1, z2: 3 * classifier_discrepancy(z1, z2), "yours is the target times 3."),
        (lambda z1, z2: classifier_discrepancy(z1, z2).item(), "no gradient flows through it"),
        (lambda z1, z2: classifier_discrepancy(z1, z2).detach().numpy(), "no gradient flows through it"),
        (lambda z1, z2: classifier_discrepancy(z1.detach(), z2) + 0 * z1.sum(), "no gradient reaches z1"),
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
    def by_entr(z):
        return entropy(z).mean() - torch.special.entr(z.softmax(1).mean(0)).sum()

    assert "gradient holds NaN" in verdict_on(by_entr, EXERCISES["information_maximisation"]).reason


def test_who_interrupts_an_answer_is_heard():
    def endless(z):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check("entropy", endless)


def test_a_shift_that_changes_no_gradient_is_right_and_said():
    verdict = verdict_on(
        lambda z: EXERCISES["information_maximisation"].reference(z) + math.log(z.shape[1]),
        EXERCISES["information_maximisation"],
    )
    assert verdict
    assert "log C larger" in verdict.reason
    assert not verdict_on(
        lambda z: EXERCISES["information_maximisation"].reference(z) + 1, EXERCISES["information_maximisation"]
    )


def pairs():
    """Two numbers; then three; then two zeros."""
    return [(torch.tensor([1.0, 2.0]).double(),), (torch.tensor([3.0, 4.0, 5.0]).double(),), (torch.zeros(2).double(),)]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda x: x * x + 1, "yours is the target plus 1."),
        (lambda x: 7 - x * x, "yours is 7 minus the target."),
        (lambda x: x, "the target is the square of yours."),
        (lambda x: x * 0 + 4, "yours is 4 everywhere, whatever comes in."),
        (lambda x: (x * x).sum(), "yours is the sum of all numbers of the target."),
        (lambda x: x * x * len(x), "yours is the target times x.shape[0]."),
        (lambda x: (x * x)[:-1], "yours is the target without its last entry."),
        (lambda x: torch.where(x == 0, x + 1, x * x), "right so far, but not in test case 3 (two zeros): "),
        (lambda x: x * x + x, "the shape is right, but 100% of the numbers are not."),
    ],
)
def test_relations_are_named_and_hold_in_every_case(answer, reason):
    exercise = Exercise("squares", lambda x: x * x, pairs, (), ("multiply",), "squares")
    assert verdict_on(answer, exercise).reason.startswith(reason)


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_each_case_says_what_it_is(exercise):
    words = inspect.getdoc(exercise.cases).partition("\n")[0].split("; then ")
    assert len(words) == len(exercise.cases())


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
