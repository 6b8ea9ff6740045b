"""What vectorised anchors save: time against loops over images and classes, memory against one joint backward.

Float32, feature maps of 4 x 256 x 128 x 224 and 19 classes, as for the authors' crops of 512 x 896.
Forms are interleaved round by round; medians of clock time and their ratios within this one run. The loops are ours,
of the same formulas: one image and one class at a time, as the authors' code goes through them.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from uda_core.anchors import Anchors, anchor_distances, class_means
from uda_core.lab import benchmarks
from uda_core.losses import pixel_cross_entropy
from uda_core.maps import at_stride
from uda_core.methods.cag import CAGConfig, CAGRun, CAGSettings, cag_step
from uda_core.pseudo_labels import anchor_labels
from uda_core.samples import IGNORE, Batch, Labelled, Unlabelled
from uda_core.task import Pair
from uda_core.training import update

SHAPE, CLASSES, MARGIN, NETWORK = (4, 256, 128, 224), 19, 2.5, "deeplab_v3plus_resnet50"
TARGETS = {  # (slow form, fast form) -> the speed-up that the fast form must reach
    ("distances and active labels, loops", "distances and active labels, vectorised"): 6.0,
    ("class means, loops", "class means, vectorised"): 10.0,
}
MEMORY_TARGET = 0.6  # of the joint backward's saved tensors


def measure(
    rounds: int = 5, shape: tuple[int, ...] = SHAPE, network: str = NETWORK, size: tuple[int, int] = (256, 448)
) -> dict:
    """Milliseconds of each form, the ratios of `TARGETS`, and the saved tensors of a CAG step in MB."""
    result = benchmarks.race(lambda: forms(shape), TARGETS, rounds, "bench anchors", torch.get_num_threads())
    joint, separate = (peak_saved(network, size, step) / 2**20 for step in (joint_step, cag_step))
    memory = {"network": network, "size": list(size), "joint_mb": joint, "separate_mb": separate}
    return result | {"memory": memory | {"share": separate / joint}}


def table(result: dict) -> str:
    """The figures of `measure`, one line each."""
    memory = result["memory"]
    words = f"of the saved tensors of one joint backward ({memory['network']}); at most {MEMORY_TARGET:.0%} wanted"
    return f"{benchmarks.table(result)}\n{memory['share']:9.0%}     {words}"


def forms(shape: tuple[int, ...]) -> dict[str, Callable]:
    """Each form by its name."""
    f = torch.rand(shape)
    anchors = Anchors(torch.rand(CLASSES, shape[1]), torch.ones(CLASSES, dtype=torch.long))
    y = torch.randint(CLASSES, (shape[0], *shape[2:]))
    return {
        "distances and active labels, loops": lambda: looped_labels(looped_distances(f, anchors.a), MARGIN),
        "distances and active labels, vectorised": lambda: anchor_labels(anchor_distances(f, anchors), MARGIN),
        "class means, loops": lambda: looped_class_means(f, y, CLASSES),
        "class means, vectorised": lambda: class_means(f, y, CLASSES),
    }


def looped_distances(f: Tensor, a: Tensor) -> Tensor:
    """d_nc = |f_n - a_c|, one image and one class at a time: [B, C, h, w]."""
    return torch.stack([torch.stack([(image - c[:, None, None]).norm(dim=0) for c in a]) for image in f])


def looped_labels(d: Tensor, margin: float) -> Tensor:
    """The nearest anchor's class where every other anchor is `margin` farther away, class by class: [B, h, w]."""
    y_hat = torch.full((len(d), *d.shape[2:]), IGNORE)
    for n in range(len(d)):
        for c in range(d.shape[1]):
            active = torch.ones(d.shape[2:], dtype=torch.bool)
            for other in range(d.shape[1]):
                if other != c:
                    active &= d[n, other] - d[n, c] >= margin
            y_hat[n][active] = c
    return y_hat


def looped_class_means(f: Tensor, y: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """v_nc and its number of pixels, one image and one class at a time: [B, C, D] and [B, C]."""
    v, n = f.new_zeros(len(f), classes, f.shape[1]), f.new_zeros(len(f), classes)
    for i in range(len(f)):
        for c in range(classes):
            pixels = f[i][:, y[i] == c]
            n[i, c] = pixels.shape[1]
            if pixels.shape[1]:
                v[i, c] = pixels.mean(1)
    return v, n


def joint_step(run: CAGRun, s: CAGSettings, batch: Batch) -> dict:
    """`cag_step` in a stage, with one backward for both domains: the graphs of both are kept until then."""
    y_hat = run.label(batch.x_t, s)
    f_s, z_s = run.embed(batch.x_s, "source")
    f_t, z_t = run.embed(batch.x_t, "target")
    source_distance = run.distance("source", f_s, z_s, at_stride(batch.y_s, z_s))
    target_distance = run.distance("target", f_t, z_t, y_hat.by_anchor)
    cross_entropy = pixel_cross_entropy(z_s, batch.y_s) + run.target_ce(z_t, y_hat)
    update(cross_entropy + s.distance * (source_distance + target_distance), run.segmenter_opt)
    return {}


def peak_saved(network: str, size: tuple[int, int], step: Callable) -> int:
    """Bytes of the tensors that autograd keeps at once, at most, in one step of a CAG stage on 2 + 2 images.

    The network's weights are among them, and the same in both forms: small images would hide what is saved.
    """
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 3, *size, generator=generator), torch.randint(4, (2, *size), generator=generator)
    source = Labelled(x, y.to(torch.uint8))
    pair = Pair("noise", ("a", "b", "c", "d"), source, source, Unlabelled(x), Unlabelled(x))
    config = CAGConfig(network=network, batch_size=2, warm_up="none")
    run = CAGRun("cag", step, pair, config, CAGSettings(source_steps=0))
    run.next_stage(run.settings)  # makes teacher and anchors
    with saved_tensors() as peak:
        run.step()
    return peak()


class Mark:
    """On a storage that autograd keeps: goes with the last of the saved tensors that share it."""


@contextmanager
def saved_tensors() -> Iterator[Callable[[], int]]:
    """Counts the bytes of the storages that autograd keeps inside; yields a function that returns their peak."""
    marks = weakref.WeakValueDictionary[tuple[int, int], Mark]()  # by address and bytes of the storage
    peak = 0

    def pack(tensor: Tensor) -> tuple[Mark, Tensor]:
        nonlocal peak
        storage = tensor.untyped_storage()
        mark = marks.setdefault((storage.data_ptr(), storage.nbytes()), Mark())
        peak = max(peak, sum(size for _, size in marks))
        return mark, tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved[1]):
        yield lambda: peak
