"""CAG-UDA: Category Anchor-Guided Unsupervised Domain Adaptation for segmentation (Zhang et al., NeurIPS 2019).

A student learns in stages. At the start of each, a frozen copy of it becomes the teacher, and the mean features of the
source's classes, of correctly predicted pixels, become the anchors. The teacher then gives target pixels two labels:
by anchor, the class of the nearest one, where the second-nearest is farther by at least the margin; by confidence, its
most probable class, where that probability is high enough. Each kind ignores all other pixels.

As in the authors' code: anchors measured in evaluation mode; no triplet loss, which their code makes and never uses.
Ours: the run starts each stage by itself; batch-norm statistics of each domain; photometric jitter; a margin in units
of the distances between anchors. The defaults of learning rates and steps are for a laptop.

Letters: B images per domain in a batch, D features, C classes; x [B,3,H,W] images, y [B,H,W] labels, f [B,D,h,w]
features, z [B,C,h,w] logits; y_hat the two labels of each target pixel, [B,h,w], and d [B,C,h,w] distances to anchors.
"""

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from uda_core.anchors import Anchors, anchor_distances, category_anchors, margin_from_ratio, shut_out, where_right
from uda_core.errors import UserError
from uda_core.losses import DISTANCE_LOSSES, kept_pairs, pixel_cross_entropy
from uda_core.maps import at_stride
from uda_core.methods.output_adversarial import AdversarialRun, AdversarialSettings, output_adversarial_step
from uda_core.methods.segmentation import TOGETHER, SegmentationConfig, decay, set_learning_rate
from uda_core.methods.source_only import source_pixels_step
from uda_core.pseudo_labels import Labelling, anchor_labels, confidence_labels
from uda_core.run import Losses, Method, digest, option
from uda_core.samples import Batch, Samples, chunks, read
from uda_core.training import gradients, update


@dataclass
class CAGSettings(AdversarialSettings):
    """Settings of CAG-UDA: of its warm-up, its stages and its losses."""

    margin: float = option(0.27, "how much farther the second-nearest anchor must be", 0.0, 100.0)
    confidence: float = option(0.95, "the teacher's class is a label above this probability", 0.0, 1.0)
    distance: float = option(0.7, "weight of the distance loss, in both domains", 0.0, 10.0)
    stage_learning_rate: float = option(2e-3, "step size in the stages", 0.0, 0.1)
    source_steps: int = option(400, "first steps, on the source alone", 0, 1_000_000, "steps")
    warm_up_steps: int = option(120, "of the adversarial warm-up; other kinds take no step", 0, 1_000_000, "steps")
    stage_steps: int = option(120, "steps of each stage", 1, 1_000_000, "steps")
    stages: int = option(3, "how often teacher and anchors are made anew", 1, 20, "stages")


def cag_step(run: "CAGRun", s: CAGSettings, batch: Batch) -> Losses:
    """Source; warm-up; then, in stages, the teacher labels target pixels and the student learns from both domains."""
    phase = run.phase(s)
    if phase == "source":
        return source_pixels_step(run, s, batch)  # cross-entropy on the source
    if phase == "warm-up":
        return output_adversarial_step(run, s, batch)  # and a discriminator, which the target's outputs must deceive
    if run.stage_is_due(s):
        run.next_stage(s)
    y_hat = run.label(batch.x_t, s)
    run.count_labels(y_hat, s)

    f, z = run.embed(batch.x_s, "source")
    ce_s, far_s = pixel_cross_entropy(z, batch.y_s), run.distance("source", f, z, at_stride(batch.y_s, z))
    g_s = gradients(ce_s + s.distance * far_s, run.segmenter_opt)  # taken here, so that one graph at a time is held

    f, z = run.embed(batch.x_t, "target")
    ce_t, far_t = run.target_ce(z, y_hat), run.distance("target", f, z, y_hat.by_anchor)
    update(ce_t + s.distance * far_t, run.segmenter_opt, plus=g_s)  # the student learns from the sum of both

    return {"source_ce": ce_s, "source_distance": far_s, "target_ce": ce_t, "target_distance": far_t}


@dataclass(frozen=True)
class CAGConfig(SegmentationConfig):
    """What is fixed until a run's reset. The authors': warm-up "adversarial", margin "absolute", else as here."""

    warm_up: str = option("adabn", "adabn: target statistics, no steps", choices=("none", "adabn", "adversarial"))
    labels: str = option("both", "in the target's cross-entropy", choices=("anchors", "confidence", "both"))
    distance_loss: str = option("code", "of class means (two forms) or pixels", choices=tuple(DISTANCE_LOSSES))
    anchor_weighting: str = option("image", "a mean of image means, or of pixels", choices=("image", "pixel"))
    margin_unit: str = option("ratio", "ratio: of the median distance between anchors", choices=("ratio", "absolute"))
    stage_decay_steps: int = option(0, "learning-rate decay in each stage; 0: none", 0, 10**9, "steps")


class CAGRun(AdversarialRun[CAGConfig, CAGSettings]):
    """A run in phases: source, warm-up, stages. Its segmenter is the student; the teacher is a frozen copy.

    Teacher and anchors are always made together (`next_stage`); `made_from` records stage, step and checksums.
    """

    CONFIG: ClassVar[type[SegmentationConfig]] = CAGConfig
    NETWORK_NAMES = ("segmenter", "teacher", "discriminator")
    STATE_NAMES = ("has_target_statistics", "stage", "stage_began", "made_from")

    def _build(self) -> None:
        super()._build()
        self.teacher = copy.deepcopy(self.segmenter).requires_grad_(False).eval()
        self.stage, self.stage_began = 0, 0
        self.anchors: Anchors | None = None
        self.made_from: dict[str, Any] = {}
        self._preview: tuple[int, Anchors] | None = None

    def separate_target_statistics(self, x: Samples | None = None) -> None:
        """From here on the target has batch-norm statistics of its own: of images x, else a copy of the source's."""
        super().separate_target_statistics(x)
        self._preview = None

    # -- phases --------------------------------------------------------------------------------------------------------

    @property
    def planned_steps(self) -> int:  # type: ignore[override]
        """Steps of all phases together."""
        return self._first_stage_at(self.settings) + self.settings.stages * self.settings.stage_steps

    @property
    def milestone(self) -> str | None:  # type: ignore[override]
        """ "source", "warm-up" or "stage1", "stage2" ...: what the last step completed, if anything."""
        s = self.settings
        if self.stage:
            return f"stage{self.stage}" if self.steps - self.stage_began == s.stage_steps else None
        return {self._first_stage_at(s): "warm-up", s.source_steps: "source"}.get(self.steps)

    def phase(self, s: CAGSettings) -> str:
        """That of the next step: "source", "warm-up" or "stage". The last stage has no end."""
        if self.stage or self.steps >= self._first_stage_at(s):
            return "stage"
        return "source" if self.steps < s.source_steps else "warm-up"

    def stage_is_due(self, s: CAGSettings) -> bool:
        """Whether the next step is the first of a stage."""
        return not self.stage or (self.stage < s.stages and self.steps - self.stage_began >= s.stage_steps)

    def _first_stage_at(self, s: CAGSettings) -> int:
        return s.source_steps + (s.warm_up_steps if self.config.warm_up == "adversarial" else 0)

    def next_stage(self, s: CAGSettings) -> None:
        """Teacher and anchors, both from the student as it is now; it goes on with a fresh optimiser and learning rate.

        At the first stage the target also gets batch-norm statistics of its own, if it has none. With several processes
        each measures the anchors on all images: one pass a stage, and no communication.
        """
        if not self.has_target_statistics:
            self.separate_target_statistics(self.pair.target_train.x if self.config.warm_up == "adabn" else None)
        self.teacher.load_state_dict(self.segmenter.state_dict())
        self.anchors = self.measure_anchors(self.teacher)
        self.segmenter_opt = self._new_optimizer()
        self.stage, self.stage_began = self.stage + 1, self.steps
        self.made_from = {"stage": self.stage, "step": self.steps, **self._digests(self.anchors)}
        self._set_learning_rate(s)

    def _set_learning_rate(self, s: CAGSettings) -> None:
        super()._set_learning_rate(s)
        if self.stage:
            factor = decay(self.steps - self.stage_began, self.config.stage_decay_steps)
            set_learning_rate(self.segmenter_opt, factor * s.stage_learning_rate)
            set_learning_rate(self.discriminator_opt, factor * s.discriminator_learning_rate)

    # -- labels of target pixels, and losses ---------------------------------------------------------------------------

    def label(self, x: Tensor, s: CAGSettings) -> Labelling:
        """The teacher's labels of target images x [B,3,H,W]; before the first stage, the student's own."""
        net, anchors = self.labelling_network()
        return self.labels_from(*self.features_and_logits(x, "target", net), anchors, s)

    @torch.no_grad()
    def labels_from(self, f: Tensor, z: Tensor, anchors: Anchors, s: CAGSettings) -> Labelling:
        """The labels that anchors and settings give to features f and logits z that were computed before."""
        d = anchor_distances(f, anchors)
        return Labelling(anchor_labels(d, self.margin(s, anchors)), confidence_labels(z, s.confidence), d)

    def labelling_network(self) -> tuple[nn.Module, Anchors]:
        """The network and the anchors that label target pixels now."""
        if self.anchors is not None:
            return self.teacher, self.anchors
        if self._preview is None or self._preview[0] != self.steps:
            self._preview = self.steps, self.measure_anchors(self.segmenter)
        return self.segmenter, self._preview[1]

    def margin(self, s: CAGSettings, anchors: Anchors | None = None) -> float:
        """The margin as a distance between features, for these anchors or those that label now."""
        if self.config.margin_unit == "absolute":
            return s.margin
        return margin_from_ratio(s.margin, anchors or self.labelling_network()[1])

    @torch.no_grad()
    def measure_anchors(self, net: nn.Module) -> Anchors:
        """Anchors of the source's training set, in evaluation mode, from correctly predicted pixels."""
        source, device = self.pair.source_train, self.config.device
        parts = list(chunks(source.x, TOGETHER))
        labelled = zip(read(source.x, parts), read(source.y, parts), strict=True)
        seen = ((*self._evaluate(net, x.to(device), "source"), y.to(device)) for x, y in labelled)
        right = ((f, where_right(at_stride(y, z), z)) for f, z, y in seen)
        return category_anchors(right, len(self.pair.classes), self.config.anchor_weighting)

    def left_out(self, s: CAGSettings) -> dict[str, list[str]]:
        """Classes that no pixel gets by anchor: without one, or with another nearer to theirs than the margin."""
        anchors = self.labelling_network()[1]
        out = {"classes_without_anchor": ~anchors.present, "classes_shut_out": shut_out(anchors, self.margin(s))}
        return {why: [self.pair.classes[i] for i in which.nonzero().flatten()] for why, which in out.items()}

    def count_labels(self, y_hat: Labelling, s: CAGSettings) -> None:
        """What the record says about this step's pseudo-labels."""
        left_out = {why: len(names) for why, names in self.left_out(s).items()}
        self.counts |= {"stage": self.stage, **y_hat.counts(), **left_out}

    def target_ce(self, z: Tensor, y_hat: Labelling) -> Tensor:
        """Cross-entropy on the pseudo-labels at h x w (the source's is at H x W); "both": half on each kind."""
        kinds = {"anchors": [y_hat.by_anchor], "confidence": [y_hat.by_confidence]}
        chosen = kinds.get(self.config.labels, [y_hat.by_anchor, y_hat.by_confidence])
        return torch.stack([pixel_cross_entropy(z, y) for y in chosen]).mean()

    def distance(self, domain: str, f: Tensor, z: Tensor, y: Tensor) -> Tensor:
        """Distance to the labels' anchors: of class means over pixels that are predicted as labelled, or of pixels."""
        anchors = self.labelling_network()[1]
        if self.config.distance_loss != "pixel":
            y = where_right(y, z)
            self.counts[f"{domain}_class_means"] = int(kept_pairs(y, anchors).sum())
        return DISTANCE_LOSSES[self.config.distance_loss](f, y, anchors)

    def _digests(self, anchors: Anchors) -> dict[str, str]:
        return {"teacher": digest(self.teacher.state_dict()), "anchors": digest(anchors.tensors())}

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on bit for bit: tensors and plain values only."""
        return super().state_dict() | {"anchors": self.anchors.tensors() if self.anchors else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            UserError: if teacher and anchors were not made together.
        """
        super().load_state_dict(state)
        if state["anchors"] is not None:
            self.anchors = Anchors(**{name: t.to(self.config.device) for name, t in state["anchors"].items()})
            if self.made_from != self.made_from | self._digests(self.anchors):
                raise UserError("teacher and anchors are not of one checkpoint")


CAG = Method("cag", cag_step, CAGSettings, CAGRun)
