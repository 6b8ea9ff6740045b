"""How long it will take, said in time; and what runs on one's own data are called."""

import pytest
from set_files import tree

from uda_core.data import image_folders
from uda_core.data.image_folders import Preprocessing
from uda_core.lab import forecast
from uda_core.lab import main as cli


@pytest.mark.parametrize(
    ("times", "left", "said"),
    [
        ([0.0, 5.0, 5.5], 2000, None),  # not known yet
        ([0.0, 5.0, 5.5, 6.0, 6.5, 7.0, 7.5], 1199, ""),  # half a second a step; the first does not count
        ([0.0, 5.0, 5.5, 6.0, 6.5, 7.0, 7.5], 1200, "about 10 minutes to go: 1200 steps of 0.5 s"),
        ([0.0, 20.0], 2000, "about 11 hours to go: 2000 steps of 20 s"),  # the first alone takes long
    ],
)
def test_a_long_run_is_known_by_its_first_steps(times, left, said):
    known = said is not None
    assert forecast.of_training(times, left) == (said or "")
    assert (times == []) == known


def test_without_a_gpu_a_run_on_folders_first_names_what_is_quicker(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(forecast, "LONG", 0.0)
    monkeypatch.setattr(forecast, "FIRST_STEPS", 2)
    monkeypatch.setattr(image_folders, "Preprocessing", lambda: Preprocessing(36, 32))
    monkeypatch.chdir(tmp_path)
    tree(tmp_path / "my photos"), tree(tmp_path / "drawings")
    words = ["train", "source_only", "folders", "--source", "my photos", "--target", "drawings", "--steps", "4"]
    words += ["--set", "features=4", "hidden=4", "batch_size=9"]
    assert cli.main([*words, "network=resnet18"]) == 0
    err = capsys.readouterr().err
    assert err.count("to go: 2 steps of ") == 1
    command = f"uda compare '{tmp_path}/my photos' {tmp_path}/drawings; a GPU: --set device=cuda\n"
    assert err.index(f"on a CPU this takes hours or days; frozen features, minutes: {command}") < err.index("to go")
    assert (tmp_path / "runs" / "source_only-folders-my photos-drawings-seed0" / "summary.json").exists()
    assert cli.main([*words, "network=small", "--out", "small"]) == 0
    assert "uda compare" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "target", "names"),
    [
        ("photos", "drawings", ("photos", "drawings")),
        ("a/photos.npz", "b/drawings.v2.npz", ("photos", "drawings.v2")),
        ("amazon/images", "webcam/images/", ("amazon", "webcam")),
        ("one/x.npz", "two/x.npz", ("one", "two")),
        ("same", "same", ("same", "same")),
    ],
)
def test_own_data_is_called_by_where_its_paths_differ(source, target, names):
    assert cli.names_of(source, target) == names
