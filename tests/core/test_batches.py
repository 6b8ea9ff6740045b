"""The order of the samples, what is drawn of them, and what is read ahead: set by the seed alone."""

import copy
import threading

import pytest
import torch

from uda_core.errors import UserError
from uda_core.samples import AHEAD, Batches, Labelled, Unlabelled, chunks, read
from uda_core.task import Pair


class Files:
    """Stand-ins for files: sample n is full of n. Counts what is read, and refuses one of them."""

    def __init__(self, n, size=(2, 2), broken=-1):
        self.n, self.size, self.broken, self.asked = n, size, broken, 0

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        self.asked += 1
        i = torch.arange(self.n)[i]
        if self.broken in i:
            raise UserError(f"{self.broken}.jpg: cannot be read")
        return i.float()[:, None, None, None].expand(-1, 3, *(self.size or (2, 2)))


class Noisy(Labelled):
    """Augmented by noise, which tells which random numbers a batch was drawn with."""

    def draw(self, i, generator=None):
        return self.x[i] + torch.rand(len(i), 1, 1, 1, generator=generator), self.y[i]


def pair(n=20, **files):
    x = Files(n, **files)
    labelled = Noisy(x, torch.arange(n) % 2)
    return Pair("files", ("a", "b"), labelled, labelled, Unlabelled(x), Unlabelled(x))


def equal(a, b):
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("x_s", "y_s", "x_t", "i_t"))


def test_the_nth_batch_depends_on_the_seed_alone():
    first, again, other = (Batches(pair(), 4, seed) for seed in (0, 0, 1))
    threads = torch.get_rng_state()
    batches = [next(first) for _ in range(12)]
    assert all(equal(batch, next(again)) for batch in batches)
    assert not equal(batches[0], next(other))
    assert torch.equal(torch.get_rng_state(), threads)
    assert torch.equal(batches[0].x_t[:, 0, 0, 0], batches[0].i_t.float())  # samples belong to their indices
    epoch = torch.cat([batch.i_t for batch in batches[:5]])
    assert epoch.sort().values.tolist() == list(range(20))


@pytest.mark.parametrize("copied", [False, True])
def test_batches_go_on_where_they_were_whatever_had_been_read_ahead(copied):
    batches = Batches(pair(), 4, 0)
    for _ in range(3):
        next(batches)
    if copied:
        twin = copy.deepcopy(batches)
    else:
        twin = Batches(pair(), 4, 0)
        twin.load_state_dict(batches.state_dict())
    expected = [next(batches) for _ in range(9)]
    assert all(equal(batch, next(twin)) for batch in expected)


def test_ranks_share_one_order():
    alone, *shares = Batches(pair(), 8, 0), Batches(pair(), 4, 0, 0, 2), Batches(pair(), 4, 0, 1, 2)
    for _ in range(6):
        whole, parts = next(alone), [next(share) for share in shares]
        assert torch.equal(whole.i_t, torch.cat([part.i_t for part in parts]))


def test_more_samples_in_a_batch_than_there_are_is_told():
    with pytest.raises(UserError, match="batch_size 32 is larger than the 20 training samples of a domain"):
        Batches(pair(), 32, 0)


def test_files_are_read_in_order_and_ahead():
    x, seen = Files(40), []
    for part in read(x, chunks(x, 4)):
        seen.append(part[:, 0, 0, 0])
        assert x.asked <= len(seen) + AHEAD
    assert torch.cat(seen).tolist() == list(range(40))
    assert x.asked == 10


def test_reading_goes_on_while_the_caller_works():
    started = threading.Event()

    class Slow(Files):
        def __getitem__(self, i):
            if i[0] == 4:
                started.set()
            return super().__getitem__(i)

    parts = read(Slow(8), chunks(Slow(8), 4))
    next(parts)
    assert started.wait(10)  # the second chunk is being read, though nobody has asked for it


def test_a_file_that_cannot_be_read_is_told_where_its_chunk_is_due():
    parts = read(Files(20, broken=13), chunks(Files(20), 4))
    assert [next(parts)[0, 0, 0, 0].item() for _ in range(3)] == [0, 4, 8]
    with pytest.raises(UserError, match=r"13\.jpg: cannot be read"):
        next(parts)
    batches = Batches(pair(8, broken=5), 8, 0)
    with pytest.raises(UserError, match=r"5\.jpg: cannot be read"):
        next(batches)


@pytest.mark.parametrize(
    ("x", "lengths"),
    [
        (torch.zeros(2500, 2), [1024, 1024, 452]),
        (torch.zeros(3, 3, 2048, 1024), [1, 1, 1]),
        (Files(60, size=(224, 224)), [55, 5]),
        (Files(3, size=None), [1, 1, 1]),  # files of many sizes
        (Files(3, size=(2048, 2048)), [1, 1, 1]),
    ],
)
def test_chunks_hold_no_more_than_a_network_can_look_at(x, lengths):
    assert [len(i) for i in chunks(x)] == lengths
    assert torch.cat(list(chunks(x))).tolist() == list(range(len(x)))


def test_chunks_of_some():
    assert [i.tolist() for i in chunks(Files(9), 2, torch.tensor([3, 4, 8]))] == [[3, 4], [8]]
