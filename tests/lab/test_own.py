"""The page about one's own data, network and method runs as it stands, and its commands are ones that exist."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import loadmat, savemat

import uda_core
from uda_core.data import TASKS, load
from uda_core.errors import UserError
from uda_core.lab import main as cli
from uda_core.methods import CLASSIFICATION
from uda_core.models.features import FEATURE_EXTRACTORS

PAGE = (Path(uda_core.__file__).parent / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture
def ran(monkeypatch, tmp_path):
    """The names that the page's code defines, run from top to bottom beside the files that it reads."""
    rng = np.random.default_rng(0)
    for domain in ("amazon", "webcam"):  # MATLAB's files, as Office-Caltech has them: counts and columns
        fts, labels = rng.integers(0, 9, (40, 800)).astype(np.uint8), np.arange(40)[:, None] % 10 + 1.0
        savemat(tmp_path / f"{domain}_SURF_L10.mat", {"fts": fts, "labels": labels})
    np.save(tmp_path / "photos_x.npy", rng.normal(size=(30, 5)))
    np.save(tmp_path / "photos_y.npy", np.arange(30) % 3 * 10**9)
    np.save(tmp_path / "drawings_x.npy", rng.normal(size=(20, 5)))
    monkeypatch.chdir(tmp_path)
    for table, name in ((FEATURE_EXTRACTORS, "tiny"), (CLASSIFICATION, "confusion"), (TASKS, "scanners")):
        monkeypatch.setitem(table, name, None)  # taken out again behind the test
    names = {}
    for code in blocks("python"):
        exec(code, names)
    return names


def test_its_code_runs_and_the_method_learns(ran):
    assert ran["run"].steps == 40
    assert ran["record"].losses["source_ce"] < 2.0  # two heads: 2.8 at the start
    assert ran["run"].extractor[0].weight.shape == (16, 3, 5, 5)


def test_its_files_of_features_make_tasks(ran):
    task = load("features", None, "amazon.npz", "webcam.npz", "per-domain")
    assert task.pair.classes == tuple("0123456789")
    fts = loadmat("webcam_SURF_L10.mat")["fts"].astype(float)
    np.testing.assert_allclose(task.pair.target_test.x, (fts - fts.mean(0)) / fts.std(0), atol=1e-5)
    assert task.truth.target_test.tolist() == [i % 10 for i in range(40)]
    task = load("features", None, "photos.npz", "drawings.npz")
    assert (task.truth, task.pair.classes) == (None, ("0", "1000000000", "2000000000"))
    assert len(task.pair.target_test) == 20
    raw = loadmat("webcam_SURF_L10.mat")["labels"].ravel().astype(int)
    np.savez("raw.npz", features=fts, labels=raw)
    with pytest.raises(UserError, match=r"raw\.npz: labels run from 1 to 10; subtract 1, for the first class is 0"):
        load("features", None, "raw.npz", "webcam.npz")


def test_its_term_is_the_distance_between_the_means(ran):
    f = torch.randn(2, 8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    class Run:
        features_opt, heads_opt = None, None

        def embed(self, *_):
            return f.flatten(0, 1)

        def classify(self, *_, **__):
            return [[torch.zeros(8, 2, dtype=torch.float64)] * 2]

    ran["update"] = lambda *_: None
    batch = type("Batch", (), {"x_s": None, "x_t": None, "y_s": torch.zeros(8, dtype=torch.int64)})
    found = ran["confusion_step"](Run(), ran["ConfusionSettings"](), batch)["mmd"]
    means = [sum(domain) / 8 for domain in f]
    torch.testing.assert_close(found, sum((a - b) ** 2 for a, b in zip(*means, strict=True)))


@pytest.mark.parametrize("command", [line for block in blocks("bash") for line in block.strip().splitlines()])
def test_its_commands_parse(command):
    uda, *words = shlex.split(command)
    assert uda == "uda"
    assert callable(cli.parser_for(words).parse_args(words).command)
