"""Frozen features from .npz files: what is read, what is refused, and that a target needs no labels to train."""

import numpy as np
import pytest
import torch

from uda_core import methods
from uda_core.data import feature_files, load
from uda_core.data.splits import tenth
from uda_core.errors import UserError
from uda_core.evaluation import evaluate

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(25, 6)).astype(np.float16), np.arange(25) % 3
CLASSES = np.array(["bike", "mug", "pen"])


def write(path, **arrays):
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


@pytest.fixture
def files(tmp_path):
    """A function that writes source and target: sound ones, but for the changes given to the one or the other."""

    def make(source=None, target=None):
        sound = {"features": X, "labels": Y, "classes": CLASSES}
        return tuple(
            write(tmp_path / f"{name}.npz", **sound | (changes or {}))
            for name, changes in (("s", source), ("t", target))
        )

    return make


def refusal(*files):
    with pytest.raises(UserError) as caught:
        feature_files.load(*files)
    message = str(caught.value)
    assert "\n" not in message
    assert str(files[0].parent) in message
    return message


def test_every_sample_is_where_it_belongs(files):
    task = feature_files.load(*files())
    pair = task.pair
    assert (task.name, pair.classes, task.metric) == ("features:s-t", ("bike", "mug", "pen"), "accuracy")
    x, y, held = torch.from_numpy(X).float(), torch.from_numpy(Y), [3, 4, 5]
    others = [i for i in range(25) if i not in held]
    for split, chosen in ((pair.source_val, held), (pair.source_train, others)):
        assert split.x.equal(x[chosen])
        assert split.y.equal(y[chosen])
    assert pair.target_train.x.equal(x)
    assert pair.target_test.x.equal(x)
    assert task.truth.target_train.equal(y)
    assert task.truth.target_test.equal(y)


def test_one_sample_in_ten_of_each_class_validates():
    y = torch.tensor([0] * 12 + [1] + [2, 0, 2])
    assert tenth(y, "here").nonzero().flatten().tolist() == [1, 11, 15]


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("whole", [np.uint8, np.int32])
def test_kinds_of_numbers(kind, whole, files):
    task = feature_files.load(*files({"features": X.astype(kind), "labels": Y.astype(whole)}))
    assert task.pair.source_train.x.dtype == torch.float32
    assert task.pair.source_train.y.dtype == torch.int64
    assert task.pair.source_val.x.equal(torch.from_numpy(X[[3, 4, 5]]).float())


@pytest.mark.parametrize(
    ("source", "target", "classes"),
    [
        ({}, {"classes": None}, ("bike", "mug", "pen")),
        ({"classes": None}, {}, ("bike", "mug", "pen")),
        ({"classes": None}, {"classes": None}, ("0", "1", "2")),
        ({"classes": None}, {"classes": None, "labels": np.zeros(25, int)}, ("0", "1", "2")),
    ],
)
def test_names_of_classes(source, target, classes, files):
    assert feature_files.load(*files(source, target)).pair.classes == classes


def test_a_target_without_labels_trains_and_predicts_and_has_no_score(files):
    with_labels = feature_files.load(*files())
    without = feature_files.load(*files(target={"labels": None, "classes": None}))
    assert without.truth is None
    runs = [
        methods.MCD(task.pair, methods.Config(network="linear", features=4, hidden=(5,), batch_size=8))
        for task in (with_labels, without)
    ]
    records = [[run.step().losses for _ in range(3)] for run in runs]
    assert records[0] == records[1]
    known, unknown = (evaluate(run, task) for run, task in zip(runs, (with_labels, without), strict=True))
    assert 0 <= known.score <= 1
    assert unknown.score is None
    assert unknown.source_score == known.source_score
    assert unknown.per_class == dict.fromkeys(CLASSES.tolist())
    assert str(unknown).splitlines()[1] == "target, target_test: accuracy not known, for there are no labels"


VALUES = {
    "features": np.array([[0.0, 5.0, 1.0]] * 12 + [[4.0, 5.0, 3.0]] * 12, np.float16),
    "labels": np.arange(24) % 2,
}
MOVED = {"features": np.array([[10.0, 7.0, 1.0], [30.0, 7.0, 1.0]], np.float16), "labels": np.arange(2)}
BARE = {"classes": None}


@pytest.mark.parametrize(
    ("how", "source", "target"),
    [
        ("none", [0, 5, 1], [[10, 7, 1], [30, 7, 1]]),
        ("per-domain", [-1, 0, -1], [[-1, 0, 0], [1, 0, 0]]),
        ("source", [-1, 0, -1], [[4, 2, -1], [14, 2, -1]]),
    ],
)
def test_features_are_standardised_by_hand_computed_numbers(how, source, target, files):
    """The source's means are 2, 5, 2 and its deviations 2, 0, 1; the target's 20, 7, 1 and 10, 0, 0."""
    task = feature_files.load(*files(VALUES | BARE, MOVED | BARE), how)
    assert task.pair.source_train.x[0].tolist() == source
    assert task.pair.target_train.x.tolist() == target
    assert task.pair.target_test.x is task.pair.target_train.x
    assert task.pair.source_train.x.dtype == task.pair.target_train.x.dtype == torch.float32


def test_what_validates_is_standardised_by_what_trains(files):
    x = X.copy()
    x[[3, 4, 5]] = 60.0  # the samples that validate
    train = np.delete(x, [3, 4, 5], axis=0).astype(np.float64)
    pair = feature_files.load(*files({"features": x}), "per-domain").pair
    np.testing.assert_allclose(pair.source_val.x[0], (60 - train.mean(0)) / train.std(0), rtol=1e-4)
    np.testing.assert_allclose(pair.source_train.x.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(pair.source_train.x.std(0, correction=0), 1, rtol=1e-5)


def test_a_feature_that_hardly_varies_is_finite(files):
    """0.1 is no float16: a mean of copies of it, in floating point, differs from them by rounding."""
    for how in ("per-domain", "source"):
        pair = feature_files.load(
            *files({"features": np.full_like(X, 0.1)}, {"features": np.full_like(X, 0.1)}), how
        ).pair
        assert pair.source_train.x.abs().max() < 1e-3
        assert pair.target_train.x.abs().max() < 1e-3


def test_an_unknown_standardisation_is_refused(files):
    with pytest.raises(UserError, match="unknown standardise 'target'; known: none, per-domain, source"):
        feature_files.load(*files(), "target")
    with pytest.raises(UserError, match="moons is not made of feature files; --standardise belongs to features"):
        load("moons", standardise="source")


def bad(array, i, value):
    array = array.copy()
    array[i] = value
    return array


PICKLED = np.array(["bike", "mug", "pen"], dtype=object)
MISTAKES = [
    ({"features": None}, "s.npz: no array 'features', only labels, classes"),
    ({"labels": None}, "s.npz: no array 'labels'; the source needs one label a sample"),
    ({"features": X[:24]}, "s.npz: 24 features but 25 labels"),
    ({"features": X[:, 0]}, "s.npz: features must be floating point [N, D], got float16 of shape [25]"),
    ({"features": Y[:, None]}, "s.npz: features must be floating point [N, D], got int64 of shape [25, 1]"),
    (
        {"features": X[:0], "labels": Y[:0]},
        "s.npz: features must be floating point [N, D], got float16 of shape [0, 6]",
    ),
    ({"features": X[:, :0]}, "s.npz: features must be floating point [N, D], got float16 of shape [25, 0]"),
    ({"features": X[:, :5]}, "t.npz: features of width 5 and 6; make both with one backbone"),
    ({"features": bad(X, (7, 2), np.nan)}, "s.npz: features hold NaN or infinity, first in sample 7"),
    ({"features": bad(X, (9, 0), np.inf)}, "s.npz: features hold NaN or infinity, first in sample 9"),
    ({"labels": Y + 1}, "s.npz: labels run from 1 to 3, but there are 3 classes; subtract 1, for"),
    ({"labels": bad(Y, 4, -1)}, "s.npz: label -1 of sample 4; labels are whole numbers from 0"),
    ({"labels": Y.astype(float)}, "s.npz: labels must be whole numbers [N], got float64 of shape [25]"),
    ({"labels": Y[:, None]}, "s.npz: labels must be whole numbers [N], got int64 of shape [25, 1]"),
    ({"labels": np.zeros(25, int)}, "s.npz: no sample of class mug, pen; leave it out of 'classes', in both files"),
    ({"labels": 2 * (Y % 2)}, "s.npz: no sample of class mug; leave it out of 'classes', in both files, and number"),
    ({"labels": Y.astype(np.uint64) + 2**63}, "s.npz: label 9223372036854775810 of sample 2 is no class"),
    (
        {"classes": np.array(["bike", "m\nug", "pen"])},
        "s.npz: a name with control characters, or not in UTF-8: 'm",
    ),
    ({"paths": np.array(["a.png"] * 24)}, "s.npz: 25 features but 24 paths"),
    ({"paths": np.arange(25)}, "s.npz: paths must be text [N], got int64 of shape [25]"),
    (
        {"paths": np.array(["caf\udce9.png"] * 25)},
        "s.npz: a name with control characters, or not in UTF-8: 'caf",
    ),
    ({"classes": PICKLED}, "s.npz: cannot be read (an array of Python objects; text is saved as"),
    ({"labels": Y.astype(object)}, "s.npz: cannot be read (an array of Python objects"),
    ({"classes": np.arange(3)}, "s.npz: classes must be text [C], got int64 of shape [3]"),
    ({"classes": np.array(["bike", "bike", "pen"])}, "s.npz: two classes have the same name"),
    ({"classes": np.array(["bike", "cup", "pen"])}, "classes differ; only in the source: cup; only in the target: mug"),
    ({"classes": np.array(["bike", "pen", "mug"])}, "classes differ; the same names, but in another order"),
]


@pytest.mark.parametrize(("changes", "says"), MISTAKES, ids=[says.split(": ")[-1] for _, says in MISTAKES])
def test_a_bad_source_gets_one_clear_line(changes, says, files):
    with pytest.raises(UserError) as caught:
        feature_files.load(*files(changes))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (Y + 1, "labels run from 1 to 3; subtract 1, for the first class is 0"),
        (
            2 * Y,
            "labels run from 0 to 4, but none is 1, 3; number them anew: np.unique(labels, return_inv",
        ),
        (Y * 10**9, "labels run from 0 to 2000000000, but none is 1, 2, 3, 4, 5; number them anew"),
        (np.zeros(25, int), "s.npz: all labels are 0; a classifier needs two classes"),
        (np.arange(25), "s.npz: no class has two samples, of which one validates; add more"),
    ],
    ids=["from 1", "gaps", "ids", "one class", "one sample each"],
)
def test_labels_without_names_that_are_no_classes(labels, says, files):
    bare = {"classes": None, "labels": labels}
    assert says in refusal(*files(bare, bare))


def test_the_same_file_twice_is_refused_whatever_its_name(files, tmp_path):
    source, _ = files()
    (tmp_path / "link.npz").symlink_to(source)
    for other in (source, tmp_path / "link.npz"):
        assert refusal(source, other) == f"{source} and {other} are the same; give a target of its own"


def test_paths_stay_with_their_samples(files):
    paths = np.array([f"cup/{i}.png" for i in range(25)])
    task = feature_files.load(*files({"paths": paths}, {"paths": paths[::-1], "labels": None}))
    assert task.paths == {"source_val": ["cup/3.png", "cup/4.png", "cup/5.png"], "target_test": tuple(paths[::-1])}
    assert feature_files.load(*files()).paths == {}


def test_a_label_of_the_target_beyond_the_classes_is_refused(files):
    bare = {"classes": None}
    assert "t.npz: labels run from 0 to 3" in refusal(*files(bare, bare | {"labels": np.arange(25) % 4}))


def test_files_that_are_no_npz(files, tmp_path):
    source, target = files()
    whole = target.read_bytes()
    flipped = bytearray(whole)
    flipped[len(flipped) // 8] ^= 255
    directory = whole.index(b"PK\1\2")
    encrypted, packed = (
        whole[: directory + i] + bytes([n]) + whole[directory + i + 1 :] for i, n in ((8, 1), (10, 99))
    )
    np.save(tmp_path / "array.npy", X)
    for content, says in (
        (b"", "not an .npz file, or cut short"),
        (b"features", "not an .npz file, or cut short"),
        ((tmp_path / "array.npy").read_bytes(), "not an .npz file, or cut short"),
        (whole[:-40], "not an .npz file, or cut short"),
        (bytes(flipped), "cannot be read (Bad CRC-32"),
        (encrypted, "cannot be read (File 'features.npy' is encrypted"),
        (packed, "cannot be read (That compression method is not supported)"),
    ):
        target.write_bytes(content)
        assert f"{target}: {says}" in refusal(source, target)
    target.unlink()
    assert f"{target}: no such file" in refusal(source, target)
    target.mkdir()
    assert f"{target}: no such file" in refusal(source, target)
