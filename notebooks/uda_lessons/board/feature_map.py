"""A steady map of the features: UMAP that is carried on from frame to frame, never refitted.

Letters: N points (source first, then target), D features. A layout is [N, 2] float32, in the units of UMAP.
"""

import pickle
import queue
import subprocess
import sys
import threading
from concurrent.futures import Future
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from uda_core import validators

NEIGHBOURS = 15
FIRST_EPOCHS, FIRST_RATE = 200, 1.0  # from the PCA layout to the first UMAP layout
EPOCHS, RATE = 20, 0.1  # from each UMAP layout to the next
RADIUS = 10.0  # half the width of a PCA layout; UMAP starts from it
STEPS = 65535  # positions are sent as uint16


class FeatureMap:
    """Layouts of one set of points over time. PCA, and marked so, until UMAP's worker has compiled."""

    def __init__(self):
        self.layout: np.ndarray | None = None
        self.kind = "PCA"  # or "UMAP"
        self._basis: tuple[Tensor, Tensor] | None = None
        self._window = Window()

    def advance(self, f: Tensor, thorough: bool = False) -> "Future[np.ndarray]":
        """The next layout, for features f [N, D]: at once by PCA, or later by UMAP.

        `thorough`: by UMAP even if that must compile first, with as many epochs as a first layout gets; for a single
        picture, where there is no last frame to stay close to.
        """
        if self.layout is None:
            self.layout = self._pca(f)
        if not (thorough or umap_ready()):
            self.layout = self._pca(f)
            return _done(self.layout)
        epochs, rate = (EPOCHS, RATE) if self.kind == "UMAP" and not thorough else (FIRST_EPOCHS, FIRST_RATE)
        return worker().ask(self.layout, *nearest_neighbours(f, min(NEIGHBOURS, len(f))), epochs, rate)

    def take(self, layout: np.ndarray) -> np.ndarray:
        """Make this layout, just computed by `advance`, the one to carry on from; its positions [N, 2] as uint16."""
        if layout is not self.layout:
            self.layout, self.kind, self._window = layout, "UMAP", self._window if self.kind == "UMAP" else Window()
        return self._window.positions(self.layout)

    def _pca(self, f: Tensor) -> np.ndarray:
        """Projection on the two main directions of the *first* features seen, so that it does not turn or flip."""
        if self._basis is None:
            mean = f.mean(0)
            directions = torch.linalg.svd(f - mean, full_matrices=False).Vh[:2]
            self._basis = mean, directions.T / ((f - mean) @ directions.T).abs().max().clamp_min(1e-12)
        mean, directions = self._basis
        flat = RADIUS * (f - mean) @ directions
        return np.ascontiguousarray(flat.cpu().numpy().astype(np.float32))


class Window:
    """The square part of the plane that the map shows. It stays, unless points leave it or leave much of it empty."""

    def __init__(self, margin: float = 1.06, slack: float = 0.75):
        self.margin, self.slack = margin, slack
        self.centre, self.radius = np.zeros(2, np.float32), 0.0

    def positions(self, layout: np.ndarray) -> np.ndarray:
        """[N, 2] as uint16: 0 is left and bottom, 65535 right and top."""
        low, high = layout.min(0), layout.max(0)
        fitting = max(float((high - low).max()) / 2 * self.margin, 1e-6)
        outside = np.abs(layout - self.centre).max() > self.radius
        if outside or fitting < self.slack * self.radius:
            self.centre, self.radius = (low + high) / 2, fitting
        unit = (layout - self.centre) / self.radius / 2 + 0.5
        return (unit.clip(0, 1) * STEPS).round().astype(np.uint16)


@torch.no_grad()
def nearest_neighbours(f: Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices and Euclidean distances [N, k] of each point's nearest neighbours, itself first, as UMAP wants them."""
    distances = torch.cdist(f, f).fill_diagonal_(-1)
    nearest = distances.topk(k, largest=False)
    return nearest.indices.cpu().numpy(), nearest.values.clamp_min(0).float().cpu().numpy()


def umap_ready() -> bool:
    """Whether UMAP has compiled; the first call starts that."""
    ready = worker().ready
    return ready.done() and ready.exception() is None


def umap_error() -> str | None:
    """Why there is no UMAP on this machine, if so."""
    ready = worker().ready
    return str(ready.exception()) if ready.done() and ready.exception() else None


def measure(f_s: Tensor, f_t: Tensor) -> "Future[dict[str, float]]":
    """How far apart the features of source and target are."""
    domain, mixing = validators.domain_accuracy(f_s, f_t), validators.neighbour_mixing(f_s, f_t)
    future: Future = Future()
    future.set_result({
        "domain_accuracy": domain.value, "domain_accuracy_control": domain.control,
        "neighbour_mixing": mixing.value, "neighbour_mixing_control": mixing.control,
    })  # fmt: skip
    return future


@cache
def worker() -> "Worker":
    """The one of this process: numba's default threading layer aborts on two parallel calls at once."""
    return Worker()


class Worker:
    """`umap_worker` in a process of its own, asked one thing at a time. It ends when this process does."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("umap_worker.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._asked: queue.SimpleQueue = queue.SimpleQueue()
        self.ready: Future = Future()  # of a first small layout: done once UMAP has compiled
        threading.Thread(target=self._converse, daemon=True, name="umap").start()

    def ask(self, *request) -> "Future[np.ndarray]":
        """A layout carried on: see `umap_worker.carry_on` for the arguments. Raises RuntimeError in the future."""
        future: Future = Future()
        self._asked.put((request, future))
        return future

    def _converse(self) -> None:
        self._answer(self.ready)
        while True:
            request, future = self._asked.get()
            try:
                pickle.dump(request, self._process.stdin)
                self._process.stdin.flush()
            except OSError as error:
                future.set_exception(RuntimeError(f"UMAP's worker is gone: {error}"))
            else:
                self._answer(future)

    def _answer(self, future: Future) -> None:
        try:
            layout, error = pickle.load(self._process.stdout)
        except (EOFError, OSError):
            layout, error = None, "UMAP's worker ended unexpectedly"
        if error:
            future.set_exception(RuntimeError(error))
        else:
            future.set_result(layout)


def _done(layout: np.ndarray) -> "Future[np.ndarray]":
    future: Future = Future()
    future.set_result(layout)
    return future
