"""The one process that runs UMAP: reads requests from its standard input, answers on its standard output.

Importing umap and compiling numba's functions takes seconds and would hold Python's lock; here it disturbs nobody. The
domain numbers are measured here too, for the same reason. Started by `feature_map`, as a file of its own, so that it
does not import torch.
"""

import pickle
import signal
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np


def serve(cache: Path) -> None:
    """Compile, say that it is done, then answer until the input ends. An answer is (result, None) or (None, error)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupted kernel interrupts its children too
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # a stray print must not end up between the answers
    functions = {"compile_umap": compile_umap, "carry_on": carry_on, "measure": measure}
    name, *arguments = "compile_umap", cache
    while True:
        try:
            answer = functions[name](*arguments), None
        except Exception as error:
            answer = None, f"{type(error).__name__}: {error}"
        pickle.dump(answer, answers)
        answers.flush()
        try:
            name, *arguments = pickle.load(requests)
        except EOFError:
            return


def compile_umap(cache: Path) -> None:
    """Lay out a few points, so that numba compiles; what it compiles of UMAP is kept in `cache`, one folder a version.

    numba itself notices only changes of its own version and of the files that define these functions. A cache that is
    damaged or cannot be written is no error.
    """
    import numba
    from umap import layouts, umap_

    cached: list = []
    versions = [f"{name}-{version(name)}" for name in ("umap-learn", "numba", "numpy")]
    folder = cache / "-".join([*versions, sys.implementation.cache_tag])
    numba.config.CACHE_DIR = str(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        cached += [umap_.smooth_knn_dist, umap_.compute_membership_strengths]
        cached += [layouts._nb_optimize_layout_euclidean_single_epoch]  # UMAP's own: another version may not have it
        for function in cached:
            function.enable_caching()
        carry_on(*_small_request())
    except Exception:
        for function in cached:
            function._cache.disable()
        carry_on(*_small_request())


def carry_on(
    layout: np.ndarray, neighbours: np.ndarray, distances: np.ndarray, epochs: int, learning_rate: float
) -> np.ndarray:
    """`epochs` of UMAP's own optimiser onward from `layout` [N, 2], for the neighbour graph given by [N, k] arrays.

    The optimiser seeds each point's random numbers from its first coordinate. A first column of tiny constants, too
    small to count in a distance, gives every frame the same random numbers, so that where features stand still, so does
    the map.
    """
    from umap.layouts import optimize_layout_euclidean
    from umap.umap_ import find_ab_params, fuzzy_simplicial_set, make_epochs_per_sample

    n = len(layout)
    graph = fuzzy_simplicial_set(
        layout, neighbours.shape[1], np.random.RandomState(0), "euclidean", knn_indices=neighbours, knn_dists=distances
    )[0].tocoo()
    kept = graph.data >= graph.data.max() / epochs
    a, b = find_ab_params(2.0, 1.0)  # wider than UMAP's 1.0 and 0.1: single points stay visible in a tight class
    seeded = np.column_stack([1e-20 * np.arange(1, n + 1), layout]).astype(np.float32)
    moved = optimize_layout_euclidean(
        seeded, seeded, graph.row[kept], graph.col[kept], epochs, n,
        make_epochs_per_sample(graph.data[kept], epochs), a, b, np.array([1, 2, 3], dtype=np.int64),
        initial_alpha=learning_rate, move_other=True,
    )  # fmt: skip
    return np.ascontiguousarray(moved[:, 1:])


def measure(f_s: np.ndarray, f_t: np.ndarray) -> dict[str, float]:
    """The numbers of `uda_core.lab.domain_gap`, each beside its control, for features [N, D] of source and target."""
    from uda_core.lab.domain_gap import domain_accuracy, neighbour_mixing

    numbers = {}
    for number in (domain_accuracy, neighbour_mixing):
        numbers[number.__name__], numbers[f"{number.__name__}_control"] = number(f_s, f_t)
    return numbers


def _small_request() -> tuple:
    """Sixty points on a line, to compile with."""
    n, k = 60, 5
    neighbours = (np.arange(n)[:, None] + np.arange(k)) % n
    distances = np.tile(np.arange(k, dtype=np.float32), (n, 1))
    return np.random.RandomState(0).rand(n, 2).astype(np.float32), neighbours, distances, 20, 0.1


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
