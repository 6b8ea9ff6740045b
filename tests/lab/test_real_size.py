"""One step of the real thing: GTA5 -> Cityscapes with DeepLab v3+ on crops of 512x896. It takes minutes on a CPU."""

import math
import os

import pytest
import torch
from set_files import write_cityscapes, write_gta5

from uda_core.data import road_scenes
from uda_core.data.road_classes import CITYSCAPES_IDS
from uda_core.lab import recipe

IDS = [raw for raw, name in CITYSCAPES_IDS.items() if name]


@pytest.fixture
def _all_cores():
    torch.set_num_threads(os.cpu_count())
    yield
    torch.set_num_threads(1)


@pytest.mark.usefixtures("_all_cores")
def test_a_stage_of_gta5_to_cityscapes_begins(tmp_path):
    write_gta5(tmp_path / "gta5", sizes=((526, 957), (524, 957), (526, 957)), ids=IDS)
    write_cityscapes(tmp_path / "cityscapes")
    published = recipe.default_for("cag", "gta5-cityscapes")
    short = published.changed(config={"batch_size": 2, "warm_up": "none"}, settings={"source_steps": 0})
    run = short.start(road_scenes.gta5_cityscapes(tmp_path).pair)
    assert sum(p.numel() for p in run.segmenter.parameters()) == 59_343_795
    before = run.segmenter.classifier.weight.clone()
    record = run.step()
    assert record.losses.keys() == {"source_ce", "source_distance", "target_ce", "target_distance"}
    assert all(math.isfinite(loss) for loss in record.losses.values())
    assert 0.5 * math.log(19) < record.losses["source_ce"] < 2 * math.log(19)  # it has seen nothing yet
    assert record.counts["classes_without_anchor"] >= 17  # an untrained network is right about one class, or two
    assert run.anchors.a.shape == (19, 256)
    assert not torch.equal(before, run.segmenter.classifier.weight)
