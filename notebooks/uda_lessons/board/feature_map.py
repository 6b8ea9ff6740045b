"""A steady map of the features: UMAP that is carried on from frame to frame, never refitted; PCA until it is there.

Letters: N points (source first, then target), D features. A layout is [N, 2] float32, in the units of UMAP.
"""

import os
import pickle
import queue
import shutil
import subprocess
import sys
import threading
from concurrent.futures import Future
from functools import cache
from pathlib import Path

import numpy as np
import platformdirs
import torch
from torch import Tensor

NEIGHBOURS = 15
FIRST_EPOCHS, FIRST_RATE = 200, 1.0  # from the PCA layout to the first UMAP layout
EPOCHS, RATE = 20, 0.1  # from each UMAP layout to the next
RADIUS = 10.0  # of a PCA layout: the size of UMAP's own, which starts from it
STEPS = 65535  # positions are sent as uint16
STARTS = 4  # of the worker at most
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)  # of the worker: it shares the machine with training and the page


class FeatureMap:
    """Layouts of one set of points over time. PCA, and marked so, while there is no UMAP."""

    def __init__(self):
        self.layout: np.ndarray | None = None
        self.kind = "PCA"  # or "UMAP"
        self._window = Window()

    def advance(self, f: Tensor, thorough: bool = False) -> "Future[np.ndarray]":
        """The next layout, for features f [N, D]: at once by PCA, or later by UMAP.

        `thorough`: by UMAP even if that must compile first, and as a first layout; for a single picture, where there is
        no last frame to stay close to.
        """
        if not (thorough or umap_ready()):
            self._show(pca(f, self.layout), "PCA")
            return _done(self.layout)
        if self.kind == "UMAP" and not thorough:
            layout, epochs, rate = self.layout, EPOCHS, RATE
        else:
            layout, epochs, rate = pca(f, self.layout), FIRST_EPOCHS, FIRST_RATE
        return worker().ask("carry_on", layout, *nearest_neighbours(f, min(NEIGHBOURS, len(f))), epochs, rate)

    def take(self, layout: np.ndarray) -> np.ndarray:
        """Make this layout, just computed by `advance`, the one to carry on from; its positions [N, 2] as uint16."""
        if layout is not self.layout:
            self._show(layout, "UMAP")
        return self._window.positions(self.layout)

    def _show(self, layout: np.ndarray, kind: str) -> None:
        if kind != self.kind:
            self._window = Window()
        self.layout, self.kind = layout, kind


@torch.no_grad()
def pca(f: Tensor, before: np.ndarray | None) -> np.ndarray:
    """Features f [N, D] projected on their two main directions, the farthest point at RADIUS from the mean.

    Main directions turn and change sign from one step to the next: the projection is rotated, and mirrored if need be,
    to lie as the layout `before` does, as near as it gets (orthogonal Procrustes).
    """
    centred = f - f.mean(0)
    flat = centred @ torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -2:]
    layout = (RADIUS * flat / flat.norm(dim=1).max().clamp_min(1e-12)).cpu().numpy().astype(np.float32)
    if before is not None:
        u, _, vt = np.linalg.svd(layout.T @ (before - before.mean(0)))
        layout = layout @ (u @ vt)
    return np.ascontiguousarray(layout)


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


def status() -> str:
    """Why the map is PCA: "compiling", "restarting" or what went wrong; nothing where UMAP works."""
    if worker().ready.done():
        return umap_error() or ""
    return "restarting" if worker().deaths else "compiling"


def measure(f_s: Tensor, f_t: Tensor) -> "Future[dict[str, float]]":
    """How far apart the features [N, D] of source and target are: see `umap_worker.measure`, where it is computed."""
    return worker().ask("measure", *(f.float().cpu().numpy() for f in (f_s, f_t)))


@cache
def worker() -> "Worker":
    """The one of this process: numba's default threading layer aborts on two parallel calls at once."""
    return Worker(platformdirs.user_cache_path("uda") / "umap")


class Worker:
    """`umap_worker` in a process of its own, asked one thing at a time; if it dies, another. Both end with this one."""

    def __init__(self, compiled: Path):
        self.ready: Future = Future()  # done once UMAP has compiled; another one when the process must start again
        self.deaths, self.process = 0, None
        self._compiled = compiled  # folder
        self._asked: queue.SimpleQueue = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True, name="umap").start()

    def ask(self, *request) -> Future:
        """What a function of `umap_worker`, by its name, returns for these arguments; RuntimeError if it fails."""
        future: Future = Future()
        self._asked.put((request, future))
        return future

    def _run(self) -> None:
        while self.deaths < STARTS:
            self.process = subprocess.Popen(
                [sys.executable, "-P", str(Path(__file__).with_name("umap_worker.py")), str(self._compiled)],
                env=os.environ | ONE_THREAD,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            self._converse(self.process)
        gone = RuntimeError(f"UMAP's worker ended unexpectedly {STARTS} times")
        self.ready.set_exception(gone)
        while True:
            self._asked.get()[1].set_exception(gone)

    def _converse(self, process: subprocess.Popen) -> None:
        """Hand over requests and answers until the process ends."""
        future = self.ready
        try:
            while True:
                answer, error = pickle.load(process.stdout)
                if error:
                    future.set_exception(RuntimeError(error))
                else:
                    future.set_result(answer)
                request, future = self._asked.get()
                pickle.dump(request, process.stdin)
                process.stdin.flush()
        except Exception:  # an end, or half an answer
            process.kill()
            process.communicate()
        self.deaths += 1
        if future is self.ready:
            shutil.rmtree(self._compiled, ignore_errors=True)  # perhaps it died of what is kept there
        else:
            self.ready = Future()  # before the answer, as whoever gets that asks whether UMAP is ready
            future.set_exception(RuntimeError("UMAP's worker ended unexpectedly"))


def _done(layout: np.ndarray) -> "Future[np.ndarray]":
    future: Future = Future()
    future.set_result(layout)
    return future
