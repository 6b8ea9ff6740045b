"""Slides in a browser: nothing runs over, every equation is set, nothing is asked from elsewhere, notes open."""

import pytest

from uda_core.errors import UserError
from uda_lessons.teaching import editions

from .conftest import PATIENCE

OVERFLOW = """() => {
  const found = [], frame = document.querySelector(".reveal").getBoundingClientRect();
  for (let k = 0; k < Reveal.getTotalSlides(); k++) {
    Reveal.slide(k);
    const slide = document.querySelector("section.present section.present");
    const foot = slide.querySelector(".cells")?.getBoundingClientRect().top ?? frame.bottom;
    const all = "h1, h2, p:not(.cells), li, table, pre, .film, img, mjx-container, [data-mml-node=merror]";
    for (const node of slide.querySelectorAll(all)) {
      if (node.closest("aside")) continue;
      const { left, right, bottom, height } = node.getBoundingClientRect();
      const over = height && (left < frame.left || right > frame.right || bottom > foot + 1);
      const wrong = over || node.matches("[data-mml-node]");
      if (wrong) found.push(`${k + 1}: ${node.tagName} ${node.textContent.slice(0, 30)}`);
    }
  }
  return found;
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The slides of all lessons."""
    pytest.importorskip("nbconvert", reason="nbconvert is not installed")
    from uda_lessons.teaching import slides

    folder = tmp_path_factory.mktemp("slides")
    try:
        editions.write_new(folder, slides.files(editions.notebooks()))
    except UserError as error:
        pytest.skip(str(error))
    return folder


@pytest.fixture
def opened(browser, folder):
    """Opens the slides of a lesson from disk, and waits for its equations."""
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.set_default_timeout(1000 * PATIENCE)
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))

    def open(name: str):
        page.goto((folder / name).as_uri())
        page.wait_for_function("window.Reveal?.isReady() && window.MathJax?.startup?.promise")
        page.evaluate("MathJax.startup.promise.then(() => null)")
        return page

    yield open
    assert errors == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "about:", "blob:"))] == []
    page.close()


@pytest.mark.parametrize("lesson", editions.notebooks(), ids=lambda path: path.stem)
def test_no_slide_runs_over(opened, lesson, pictures):
    page = opened(f"{lesson.stem}.html")
    assert page.evaluate(OVERFLOW) == []
    for k in range(page.evaluate("Reveal.getTotalSlides()") if pictures else 0):
        page.evaluate(f"Reveal.slide({k})")
        page.screenshot(path=pictures / f"slide-{lesson.stem[:2]}-{k:02}.png")


def test_a_film_plays_on_its_slide_and_the_notes_open(opened):
    page = opened("02_matching_the_crowds.html")
    page.evaluate("Reveal.slide(2)")
    page.frame_locator(".present iframe").locator(".uda canvas[data-step]").wait_for(state="attached")
    with page.expect_popup() as popup:
        page.keyboard.press("s")
    popup.value.locator(".speaker-controls-notes .value").wait_for()
    popup.value.close()
