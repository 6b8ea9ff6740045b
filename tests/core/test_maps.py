"""How maps change their size: logits blend, labels do not."""

import pytest
import torch
import transcriptions as slow
from torch import tensor
from transcriptions import waves

from uda_core.maps import at_stride, resize
from uda_core.samples import IGNORE


@pytest.mark.parametrize("size", [(7, 9), (2, 3), (1, 1), (4, 5)])
def test_resizing_puts_corners_on_corners(size):
    z = waves(2, 3, 4, 5)
    torch.testing.assert_close(resize(z, torch.empty(size)), slow.resized(z, *size), rtol=1e-12, atol=1e-14)


def test_a_map_of_the_right_size_stays_as_it_is():
    z = waves(1, 2, 3, 4)
    assert resize(z, torch.empty(9, 3, 4)) is z


def test_labels_take_the_first_pixel_of_their_field_and_are_never_blended():
    """As nearest-neighbour resizing in the authors' code (cac.py): pixel i of w comes from floor(i W / w) of W."""
    y = tensor([[[0, 1, 2, 3, 4, IGNORE, 6, 7]]], dtype=torch.uint8)
    assert at_stride(y, torch.empty(1, 5, 1, 2)).tolist() == [[[0, 4]]]
    assert at_stride(y, torch.empty(1, 5, 1, 3)).tolist() == [[[0, 2, IGNORE]]]
    assert at_stride(y, torch.empty(1, 5, 1, 8)).tolist() == y.tolist()
    assert at_stride(y, torch.empty(1, 5, 1, 2)).dtype == torch.int64
