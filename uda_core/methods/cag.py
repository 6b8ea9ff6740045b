"""CAG-UDA: Category Anchor-Guided Unsupervised Domain Adaptation for segmentation (Zhang et al., NeurIPS 2019)."""

from dataclasses import dataclass

from torch import Tensor

from uda_core.anchors import where_right
from uda_core.data.task import Pair
from uda_core.losses import DISTANCE_LOSSES, kept_pairs, pixel_cross_entropy
from uda_core.maps import at_stride
from uda_core.methods.output_adversarial import OutputAdversarialSettings, output_adversarial_step
from uda_core.methods.run import Batch, setting, update
from uda_core.methods.segmentation import Labelling, SegmentationConfig, SegmentationRun
from uda_core.methods.source_only import source_pixels_step


@dataclass
class CAGSettings(OutputAdversarialSettings):
    stage_learning_rate: float = setting(2e-3, 0.0, 0.1, "step size in the stages")
    source_steps: int = setting(400, 0, 1_000_000, "first steps, on the source alone", "steps")
    warm_up_steps: int = setting(
        120, 0, 1_000_000, "adversarial steps after that, if the warm-up is adversarial", "steps"
    )
    stage_steps: int = setting(120, 1, 1_000_000, "steps of each stage", "steps")
    stages: int = setting(3, 1, 20, "new teacher and anchors this many times", "stages")
    distance: float = setting(0.7, 0.0, 10.0, "weight of the distance to the anchors, in both domains")


class CAGRun(SegmentationRun):
    """A run in phases: source, warm-up, stages."""

    @property
    def planned_steps(self) -> int:
        s = self.settings
        return s.source_steps + self._warm_up_steps(s) + s.stages * s.stage_steps

    @property
    def milestone(self) -> str | None:
        """ "source", "warm-up" or "stage1", "stage2" ...: what the last step completed, if anything."""
        s = self.settings
        if self.stage:
            return f"stage{self.stage}" if self.steps - self.stage_began == s.stage_steps else None
        return {s.source_steps + self._warm_up_steps(s): "warm-up", s.source_steps: "source"}.get(self.steps)

    def phase(self, s: CAGSettings) -> str:
        """Of the next step: "source", "warm-up", "next stage" or "stage"."""
        if self.stage == 0 and self.steps < s.source_steps + self._warm_up_steps(s):
            return "source" if self.steps < s.source_steps else "warm-up"
        over = self.stage < s.stages and self.steps - self.stage_began >= s.stage_steps
        return "next stage" if self.stage == 0 or over else "stage"

    def _warm_up_steps(self, s: CAGSettings) -> int:
        return s.warm_up_steps if self.config.warm_up == "adversarial" else 0


def cag_step(run: CAGRun, s: CAGSettings, batch: Batch) -> dict:
    """Source; warm-up; then, by stages, the teacher's anchors label target pixels for the student to learn from."""
    phase = run.phase(s)
    if phase == "source":
        return source_pixels_step(run, s, batch)
    if phase == "warm-up":
        return output_adversarial_step(run, s, batch)
    if not run.knows_target:
        run.meet_target(run.pair.target_train.x if run.config.warm_up == "target-statistics" else None)
    if phase == "next stage":
        run.next_stage(s)

    y_hat, losses = run.label(batch.x_t, s), {}
    run.count_labels(y_hat, s)

    def student():
        f, z = run.embed(batch.x_s, "source")
        losses["source_ce"] = pixel_cross_entropy(z, batch.y_s)
        losses["source_distance"] = distance(run, "source", f, z, at_stride(batch.y_s, z))
        yield losses["source_ce"] + s.distance * losses["source_distance"]
        f, z = run.embed(batch.x_t, "target")
        losses["target_ce"] = target_ce(run, z, y_hat)
        losses["target_distance"] = distance(run, "target", f, z, y_hat.by_anchor)
        yield losses["target_ce"] + s.distance * losses["target_distance"]

    update(student(), run.student_opt)  # one domain after the other: half the memory
    return losses


def target_ce(run: SegmentationRun, z: Tensor, y_hat: Labelling) -> Tensor:
    """Cross-entropy on the pseudo-labels, at the stride of the features; "both": half on each kind."""
    kinds = {"anchors": [y_hat.by_anchor], "confidence": [y_hat.by_confidence]}
    chosen = kinds.get(run.config.labels, [y_hat.by_anchor, y_hat.by_confidence])
    return sum(pixel_cross_entropy(z, y) for y in chosen) / len(chosen)


def distance(run: SegmentationRun, domain: str, f: Tensor, z: Tensor, y: Tensor) -> Tensor:
    """How far features lie from the anchors of their labels; class means only of pixels that the student gets right."""
    form = run.config.distance_loss
    if form != "pixel":
        y = where_right(y, z)
        run.counts[f"{domain}_class_means"] = int(kept_pairs(y, run.anchors).sum())
    return DISTANCE_LOSSES[form](f, y, run.anchors)


def cag(pair: Pair, config: SegmentationConfig | None = None, **settings: float) -> CAGRun:
    """There is no triplet loss: the authors' code makes one and never uses it. The margin chooses pixels, no more.

    As in the authors' code: anchors from rightly predicted source pixels in evaluation mode, labels at the features'
    stride, cross-entropy on both kinds of labels. Ours: stages renew teacher and anchors by themselves; batch-norm
    statistics per domain and photometric jitter (`config.batch_norm`, `config.jitter`); a margin in units of the
    distances between anchors; nothing, not even the choice of a checkpoint, sees a target label.
    """
    return CAGRun("cag", cag_step, pair, config, CAGSettings.of(settings))
