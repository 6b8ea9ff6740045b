"""Segmenters and the discriminator: shapes, where the features sit, and forwards computed by hand."""

import pytest
import torch
from torch import nn

from uda_core.errors import UserError
from uda_core.models import Discriminator, make_segmenter


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
    with pytest.raises(UserError, match=r"unknown network 'smal'; known: small.* Did you mean 'small'"):
        make_segmenter("smal", 8)


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
