"""One thread for torch, so that numbers repeat from machine to machine; small tasks and runs that many tests share."""

import pytest
import torch
from notebook_runner import CHROMIUM

from uda_core.data.digits import fonts_handwriting
from uda_core.data.moons import moons
from uda_core.data.streets import streets

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--enable-precise-memory-info",
]  # fmt: skip


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium, one for all: a process can start playwright once."""
    if not CHROMIUM:
        pytest.skip("no Chromium or Chrome here")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def moons_task():
    """Two moons, 60 samples a split."""
    return moons(samples=60)


@pytest.fixture(scope="session")
def digits_task():
    """Printed digits and about 180 handwritten ones."""
    return fonts_handwriting(samples=60, drop=dict.fromkeys(range(10), 0.9))


@pytest.fixture(scope="session")
def tiny_streets():
    """A dozen drawn streets of 32x64 pixels a domain."""
    return streets(samples=12, test_samples=6, size=(32, 64))
