"""The page about one's own data, network and method runs as it stands, and its commands are ones that exist."""

import re
import shlex
from pathlib import Path

import pytest
import torch

import uda_core
from uda_core.data import TASKS
from uda_core.lab import main as cli
from uda_core.methods import CLASSIFICATION
from uda_core.models.features import FEATURE_EXTRACTORS

PAGE = (Path(uda_core.__file__).parent / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture
def ran(monkeypatch):
    """The names that the page's code defines, run from top to bottom."""
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
