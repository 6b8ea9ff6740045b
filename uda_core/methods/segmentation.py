"""Runs that segment: a student, its frozen teacher and their anchors, and the words the segmentation methods use.

Letters: B images per domain in a batch, D features, C classes; x [B,3,H,W] images, y [B,H,W] labels, f [B,D,h,w]
features, z [B,C,h,w] logits.
"""

import copy
import hashlib
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from uda_core.anchors import (
    WEIGHTINGS,
    Anchors,
    anchor_distances,
    category_anchors,
    margin_from_ratio,
    shut_out,
    where_right,
)
from uda_core.data.batches import read
from uda_core.data.task import IGNORE, Samples, chunks
from uda_core.errors import UserError, choose
from uda_core.losses import DISTANCE_LOSSES
from uda_core.maps import at_stride, resize
from uda_core.methods.run import Run, RunConfig, Settings, evaluating, setting
from uda_core.models import Discriminator
from uda_core.models.batch_norm import copy_statistics_, per_domain_, reestimate_batches_, use_domain
from uda_core.pseudo_labels import anchor_labels, confidence_labels

LABELS = ("anchors", "confidence", "both")
BATCH_NORMS = ("per-domain", "shared")
WARM_UPS = ("none", "target-statistics", "adversarial")
OPTIMIZERS = ("adamw", "sgd")
JITTERS = ("none", "target", "source", "both")
MARGINS = ("ratio", "absolute")
CHUNK = 16  # images looked at together


@dataclass(frozen=True)
class SegmentationConfig(RunConfig):
    """What is fixed until Reset: network, batch, device, precision, seed, and which form of each part."""

    batch_size: int = 8  # per domain
    network: str = "small"
    features: int = 0  # D, width of the feature vector; 0: the network's own
    batch_norm: str = "per-domain"  # statistics: "per-domain" is ours, "shared" the authors'
    warm_up: str = "target-statistics"  # between source and stages
    labels: str = "both"  # which pseudo-labels' cross-entropy; "both": their mean, as in the authors' code
    distance_loss: str = "code"  # of three forms, see `losses`
    anchor_weighting: str = "image"  # mean over images of their class means, or over pixels
    margin_unit: str = "ratio"  # of the median distance between anchors, or absolute
    jitter: str = "target"  # photometric, on the student's images of these domains; ours, not the authors'
    optimizer: str = "adamw"  # or "sgd": momentum 0.9, weight decay 2e-4, as in the authors' code
    decay_steps: int = 0  # before the stages learning rates fall as (1 - n / decay_steps)^0.9; 0: they stay
    stage_decay_steps: int = 0  # the same in each stage, from its beginning

    def __post_init__(self):
        super().__post_init__()
        for name, known in (
            ("batch_norm", BATCH_NORMS), ("warm_up", WARM_UPS), ("labels", LABELS),
            ("distance_loss", DISTANCE_LOSSES), ("anchor_weighting", WEIGHTINGS), ("margin_unit", MARGINS),
            ("jitter", JITTERS), ("optimizer", OPTIMIZERS),
        ):  # fmt: skip
            choose(name, getattr(self, name), known)
        if min(self.decay_steps, self.stage_decay_steps) < 0:
            raise UserError(
                f"decay_steps and stage_decay_steps must be at least 1, or 0 for none, "
                f"got {self.decay_steps} and {self.stage_decay_steps}"
            )
        if self.features < 0:
            raise UserError(f"features must be at least 1, or 0 for the network's own, got {self.features}")


@dataclass(frozen=True)
class Labelling:
    """What a teacher says about target images: [B, h, w] each, `IGNORE` where it says nothing."""

    by_anchor: Tensor  # y_hat of active pixels
    by_confidence: Tensor
    distances: Tensor  # [B, C, h, w]


@dataclass
class SegmentationSettings(Settings):
    learning_rate: float = setting(3e-3, 0.0, 0.1, "step size on the source, and of the warm-up")
    discriminator_learning_rate: float = setting(1e-4, 0.0, 0.1, "step size of the discriminator (Adam)")
    margin: float = setting(0.27, 0.0, 100.0, "how much nearer the nearest anchor must be than the second")
    confidence: float = setting(0.95, 0.0, 1.0, "a pixel is confident above this probability")


class SegmentationRun(Run):
    """A run with one segmenter that trains, the student, and a frozen copy, the teacher, that labels target pixels.

    Teacher and anchors are always made together, from one student (`next_stage`), and `made_from` says from which.
    """

    CONFIG = SegmentationConfig
    NETWORKS: ClassVar = ("student", "teacher", "discriminator")
    OPTIMIZERS: ClassVar = ("student_opt", "discriminator_opt")

    def _build(self) -> None:
        if not self.pair.dense:
            raise UserError(f"{self.method} labels pixels, but {self.pair.name} has one label for each image")
        from uda_core.models.segmenters import make_segmenter  # not at the top: torchvision takes seconds to import

        config, classes = self.config, len(self.pair.classes)
        self.student = make_segmenter(config.network, classes, config.features or None, config.weights)
        if config.batch_norm == "per-domain":
            per_domain_(self.student)
        self.student.to(config.device)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False).eval()
        self.discriminator = Discriminator(classes, **self._discriminator_size()).to(config.device)
        self.discriminator_opt = torch.optim.Adam(self.discriminator.parameters(), betas=(0.9, 0.99))
        self.renew_optimizer()
        self.stage, self.stage_began, self.knows_target = 0, 0, False
        self.anchors: Anchors | None = None
        self.made_from: dict = {}
        self._preview: tuple[int, Anchors] | None = None

    def _discriminator_size(self) -> dict:
        """The authors' for real networks; a fraction of it for a laptop's, whose maps are 16 x 32."""
        return {"width": 16, "depth": 3} if self.config.network == "small" else {}

    def renew_optimizer(self) -> None:
        """A fresh optimiser for the student, without momentum from before."""
        if self.config.optimizer == "sgd":
            self.student_opt = torch.optim.SGD(self.student.parameters(), momentum=0.9, weight_decay=2e-4)
        else:
            self.student_opt = torch.optim.AdamW(self.student.parameters(), fused=True)

    def _set_learning_rate(self, s: SegmentationSettings) -> None:
        rates = s.stage_learning_rate if self.stage else s.learning_rate, s.discriminator_learning_rate
        length = self.config.stage_decay_steps if self.stage else self.config.decay_steps
        decay = max(0.0, 1 - (self.steps - self.stage_began) / length) ** 0.9 if length else 1.0
        for optimizer, rate in zip((self.student_opt, self.discriminator_opt), rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = decay * rate

    # -- the words of the methods --------------------------------------------------------------------------------------

    def embed(self, x: Tensor, domain: str) -> tuple[Tensor, Tensor]:
        """Training-mode features and logits of a batch of one domain; photometric jitter where the config asks."""
        if self.config.jitter in (domain, "both"):
            x = photometric_jitter(x)
        self.student.train()
        use_domain(self.student, domain)
        with self._autocast():
            f, z = self.student(x)
        return f.float(), z.float()

    def label(self, x: Tensor, s: SegmentationSettings) -> Labelling:
        """The teacher's labels of target images x [B,3,H,W]; before the first stage, the student's own preview."""
        net, anchors = self.teaching()
        return self.judge(*self.look(x, "target", net), anchors, s)

    @torch.no_grad()
    def judge(self, f: Tensor, z: Tensor, anchors: Anchors, s: SegmentationSettings) -> Labelling:
        """The labels that anchors and settings make of a network's f and z, so that new settings need no new look."""
        d = anchor_distances(f, anchors)
        return Labelling(anchor_labels(d, self.margin(s, anchors)), confidence_labels(z, s.confidence), d)

    def teaching(self) -> tuple[nn.Module, Anchors]:
        """The network and the anchors that label target pixels now."""
        if self.anchors is not None:
            return self.teacher, self.anchors
        if self._preview is None or self._preview[0] != self.steps:
            self._preview = self.steps, self.measure_anchors(self.student)
        return self.student, self._preview[1]

    def margin(self, s: SegmentationSettings, anchors: Anchors | None = None) -> float:
        """Delta_d in units of the features, between these anchors or those that label now."""
        if self.config.margin_unit == "absolute":
            return s.margin
        return margin_from_ratio(s.margin, anchors or self.teaching()[1])

    def meet_target(self, x: Samples | None = None) -> None:
        """From here on the target has batch-norm statistics of its own: those of images x, or at first the source's."""
        self.knows_target = True
        if self.config.batch_norm == "per-domain":
            copy_statistics_(self.student, "source", "target")
        if x is not None:
            use_domain(self.student, "target")
            size = CHUNK if isinstance(x, Tensor) else self.config.batch_size
            parts = torch.arange(len(x)).tensor_split(max(1, len(x) // size))  # of one size, or nearly
            reestimate_batches_(self.student, (part.to(self.config.device) for part in read(x, parts)))

    def next_stage(self, s: SegmentationSettings) -> None:
        """Teacher and anchors, both from the student as it is now; the student goes on with a fresh optimiser.

        Of several processes each measures the anchors on all images, as `meet_target` does the statistics: one pass a
        stage, and nothing to exchange.
        """
        self.teacher.load_state_dict(self.student.state_dict())
        self.anchors = self.measure_anchors(self.teacher)
        self.renew_optimizer()
        self.stage, self.stage_began = self.stage + 1, self.steps
        self.made_from = {"stage": self.stage, "step": self.steps, **self._digests()}
        self._set_learning_rate(s)

    @torch.no_grad()
    def measure_anchors(self, net: nn.Module) -> Anchors:
        """Anchors of the source's training set, in evaluation mode, from rightly predicted pixels."""

        def batches():
            source, device = self.pair.source_train, self.config.device
            parts = list(chunks(source.x, CHUNK))
            for x, y in zip(read(source.x, parts), read(source.y, parts), strict=True):
                f, z = self._look(net, x.to(device), "source")
                yield f, where_right(at_stride(y.to(device), z), z)

        return category_anchors(batches(), len(self.pair.classes), self.config.anchor_weighting)

    def left_out(self, s: SegmentationSettings) -> dict[str, list[str]]:
        """Names of the classes that no pixel can get: too few right pixels for an anchor, or the margin is too wide."""
        out = {
            "classes_without_anchor": ~self.anchors.present,
            "classes_shut_out": shut_out(self.anchors, self.margin(s)),
        }
        return {
            why: [c for c, is_out in zip(self.pair.classes, which, strict=True) if is_out] for why, which in out.items()
        }

    def count_labels(self, labels: Labelling, s: SegmentationSettings) -> None:
        """What the record tells of this step's pseudo-labels."""
        self.counts |= {
            "stage": self.stage,
            "active_pixels": int((labels.by_anchor != IGNORE).sum()),
            "confident_pixels": int((labels.by_confidence != IGNORE).sum()),
            **{why: len(names) for why, names in self.left_out(s).items()},
        }

    # -- looking, without touching -------------------------------------------------------------------------------------

    def features(self, x: Tensor, domain: str = "target") -> Tensor:
        """[N,3,H,W] -> features [N,D,h,w], as used at test time."""
        return self.look(x, domain)[0]

    def predict(self, x: Tensor, domain: str = "target") -> tuple[Tensor]:
        """[N,3,H,W] -> logits ([N,C,H,W],), at the size of the images."""
        return (resize(self.look(x, domain)[1], x),)

    @torch.no_grad()
    def look(self, x: Tensor, domain: str = "target", net: nn.Module | None = None) -> tuple[Tensor, Tensor]:
        """Features [N,D,h,w] and logits [N,C,h,w], both at their stride, in one pass: of the student, or of `net`."""
        parts = [self._look(net or self.student, part.to(self.config.device), domain) for part in x.split(CHUNK)]
        f, z = zip(*parts, strict=True)
        return torch.cat(f), torch.cat(z)

    def _look(self, net: nn.Module, x: Tensor, domain: str) -> tuple[Tensor, Tensor]:
        use_domain(net, domain if self.knows_target else "source")
        with evaluating(net), self._autocast():
            f, z = net(x)
        return f.float(), z.float()

    # -- saving --------------------------------------------------------------------------------------------------------

    def _digests(self) -> dict[str, str]:
        return {"teacher": digest(self.teacher.state_dict()), "anchors": digest(vars(self.anchors))}

    def state_dict(self) -> dict:
        return super().state_dict() | {
            "stage": self.stage,
            "stage_began": self.stage_began,
            "knows_target": self.knows_target,
            "anchors": dict(vars(self.anchors)) if self.anchors else None,
            "made_from": dict(self.made_from),
        }

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self.stage, self.stage_began = state["stage"], state["stage_began"]
        self.knows_target, self.made_from = state["knows_target"], dict(state["made_from"])
        if state["anchors"] is not None:
            self.anchors = Anchors(**{name: t.to(self.config.device) for name, t in state["anchors"].items()})
            if self.made_from != self.made_from | self._digests():
                raise UserError("teacher and anchors are not of one checkpoint")


def photometric_jitter(x: Tensor) -> Tensor:
    """Another brightness, contrast, saturation and hue for each image [B,3,H,W]. Ours, not the authors'."""
    from torchvision.transforms import v2  # not at the top: it takes seconds to import

    jitter = v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
    return torch.stack([jitter(image) for image in x])


def digest(tensors: dict[str, Tensor]) -> str:
    """A short name for exactly these tensors."""
    sha = hashlib.sha256()
    for name, tensor in tensors.items():
        sha.update(name.encode())
        sha.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()[:16]
