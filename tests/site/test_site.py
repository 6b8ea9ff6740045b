"""The site: the same bytes twice, small, whole without a network or a server, and what its pages do in a browser."""

import hashlib
import io
import os
import re
import subprocess
import sys
from base64 import b64decode, b64encode
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import mean
from threading import Thread

import nbformat
import numpy as np
import pytest
from PIL import Image

from uda_core.errors import UserError
from uda_core.lab import results
from uda_core.lab.main import main
from uda_lessons.exercises.catalog import EXERCISES
from uda_lessons.site import build

pytest.importorskip("sphinx_book_theme", reason="the extra `site` is not installed")
from fontTools.ttLib import TTFont

from uda_lessons.site import extension

ROOT = Path(__file__).parents[2]
LESSONS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))
IFRAME, PATIENCE = ".uda-film iframe", 60_000  # milliseconds


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built by a process of its own, with another order of sets than the next one."""
    return built(tmp_path_factory.mktemp("first") / "site", seed="1")


def built(out: Path, seed: str) -> Path:
    command = [sys.executable, "-m", "uda_core", "site", "--out", out]
    done = subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "index.html" in done.stdout
    return out


def page(site: Path, name: str) -> str:
    return (site / f"{name}.html").read_text(encoding="utf-8")


def files(site: Path) -> dict[str, str]:
    found = [path for path in site.rglob("*") if path.is_file()]
    return {path.relative_to(site).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


# -- the files ---------------------------------------------------------------------------------------------------------


def test_built_twice_it_has_the_same_bytes_and_under_12_mb(site, tmp_path):
    assert files(built(tmp_path / "site", seed="2")) == files(site)
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < 12e6


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_has_its_film_quiz_and_answers_and_no_cell_or_badge_for_colab(site, lesson):
    text = page(site, f"notebooks/{lesson}")
    assert text.count("<iframe") == 1
    assert len(re.findall(r"<p><b>\d\. ", text)) == 5
    assert "colab" not in text.casefold().partition("<article")[2].partition("</article>")[0]
    cells = nbformat.read(ROOT / "notebooks" / f"{lesson}.ipynb", as_version=4).cells
    checked = re.findall(r'^check\("(\w+)"', "\n".join(c.source for c in cells), re.MULTILINE)
    assert text.count("<summary>Answer</summary>") == len(checked) >= 2
    assert all(f"Hint 1 of {len(EXERCISES[name].hints)}<" in text for name in checked)
    math = sum(
        len(re.findall(r"\$\$.+?\$\$|\$[^$]+\$", c.source, re.DOTALL)) for c in cells if c.cell_type == "markdown"
    )
    assert text.count("<math") == math


def test_tables_of_a_lesson_are_shown_under_their_cell(site):
    text = page(site, "notebooks/05_gradient_discrepancy")
    choosing = page(site, "notebooks/08_choosing_without_labels")
    assert choosing.count("<table") > 2
    assert "commonest predicted class" in choosing
    assert text.index("factorial-fonts:effects") < text.index("on top of the others") < text.index("The status of")


def test_a_table_that_needs_a_run_is_left_out():
    known = {}
    assert build.tables('rows = ["CORAL"]\nresults.show("fonts-handwriting", rows)', known) == [
        ("fonts-handwriting", ["CORAL"])
    ]
    assert build.tables('results.show("fonts-handwriting", [run.name])', known) == []
    assert build.tables('rows = [open("secret")]\nresults.show("fonts-handwriting", chosen)', known) == []


def test_pictures_inside_a_page_are_made_small():
    picture, small = io.BytesIO(), re.compile(r"base64,([^\"]+)")
    noise = np.random.default_rng(0).integers(0, 2, (60, 60, 1), dtype=np.uint8) * np.array([255, 0, 0], dtype=np.uint8)
    Image.fromarray(noise).save(picture, "PNG")
    page = f'<p>1</p><img src="data:image/png;base64,{b64encode(picture.getvalue()).decode()}"><p>2</p>'
    made = build.small_pictures(page)
    assert len(made) < len(page)
    assert made.startswith("<p>1</p><img")
    assert made.endswith('"><p>2</p>')
    shown = Image.open(io.BytesIO(b64decode(small.search(made)[1])))
    assert np.array_equal(np.asarray(shown.convert("RGB")), noise)


def test_equations_are_those_that_tex_would_draw():
    assert ">arg" not in extension.mathml(r"\arg\min_k d_k", "inline")
    assert "\\" not in extension.mathml(r"\hat y = \arg\min_k \bigl\| f - a_k \bigr\|", "block")
    accent = extension.mathml(r"\hat y_i", "inline")
    assert accent.index("</mover>") < accent.index("<mi>i</mi>")
    over = extension.mathml(r"\overline{w l}", "inline")
    assert over.count("<mover>") == 1
    assert over.index("<mi>l</mi>") < over.index("</mover>")


def test_docstrings_are_shown_as_they_stand(site):
    text = page(site, "docs/api/losses")
    assert "L_dis = 1/(BC) sum |p1 - p2|" in text
    assert "uda_core.methods.cgdm.cgdm_step" in page(site, "docs/api/methods")


def test_the_api_names_every_module_of_the_core():
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "api").iterdir())
    named = set(re.findall(r"automodule:: (\S+)", text))
    core = [*(ROOT / "uda_core").glob("[a-z]*.py"), *(ROOT / "uda_core").glob("m*/[a-z]*.py")]
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in core}
    assert named == {*modules, "uda_core.models"}


def test_hidden_cases_and_folders_are_not_linked(tmp_path):
    page = ROOT / "docs" / "teaching" / "plan.md"
    text = "[a](../../uda_core/lab/recipes) [b](../static/site.css) [c](../index.md#top) [d](https://example.org)"
    kept = build.local(f"{text} ![e](none.png)", page, tmp_path)
    assert kept == f"a {text.partition(' ')[2]} ![e](none.png)"
    assert [path.name for path in tmp_path.rglob("*.*")] == ["site.css"]


def test_the_numbers_of_the_front_page_are_those_of_its_films(site):
    shown = [
        f"{100 * extension.final_score(path.read_bytes()):.1f} %" for path in sorted((ROOT / "docs/films").iterdir())
    ]
    assert len(shown) == 3
    assert all(score in page(site, "index") for score in shown)
    assert max(path.stat().st_size for path in (ROOT / "docs/films").iterdir()) < 250_000


def test_what_the_front_page_says_of_its_runs():
    none, some, most = (
        extension.final_score((ROOT / f"docs/films/beta-{beta}.film").read_bytes()) for beta in build.RUNS
    )
    assert none > some > most, "here it costs"
    rows = ("discrepancy", "discrepancy + gradient discrepancy")
    means = [mean(results.tasks("factorial-blobs", row)["B at -0.5"]) for row in rows]
    front = (ROOT / "docs" / "index.md").read_text(encoding="utf-8").replace("\n", " ")
    assert f"from {means[0]:.1f} to {means[1]:.1f} %" in front


def test_shipped_files_have_their_licences_beside_them(site):
    licences = site / "_static" / "licenses"
    assert all("Redistribution" in path.read_text(encoding="utf-8") for path in licences.iterdir())
    assert len([*licences.iterdir()]) == 2
    names = TTFont(site / "_static" / "math.woff")["name"]
    assert "Open Font License" in str(names.getDebugName(13))


# -- the command -------------------------------------------------------------------------------------------------------


def test_outside_a_clone_there_is_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(build, "DOCS", tmp_path)
    assert main(["site"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"thesis.tex is no part of a site"):
        build.build(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_site_is_replaced_unless_something_was_added_to_it(tmp_path, monkeypatch):
    def lay_out(source: Path, run: bool) -> None:
        source.mkdir()
        (source / "index.md").write_text(f"# {title}\n")

    monkeypatch.setattr(build, "lay_out", lay_out)
    for title in ("First", "Second"):
        build.build(tmp_path / "site")
        assert title in page(tmp_path / "site", "index")
    (tmp_path / "site" / "CNAME").touch()
    before = files(tmp_path / "site")
    with pytest.raises(UserError, match=r"CNAME is no part of a site"):
        build.build(tmp_path / "site")
    assert files(tmp_path / "site") == before
    monkeypatch.chdir(tmp_path / "site")
    with pytest.raises(UserError, match="cannot be replaced"):
        build.build(Path())
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_a_link_to_nowhere_is_named(tmp_path, monkeypatch):
    def lay_out(source: Path, run: bool) -> None:
        source.mkdir()
        (source / "index.md").write_text("# Site\n\n[gone](nowhere.md) and [lost](#nothing)\n")

    monkeypatch.setattr(build, "lay_out", lay_out)
    with pytest.raises(UserError, match=r"index.md:3: .*nowhere.md"):
        build.build(tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_the_films_are_recorded_by_a_command(monkeypatch, tmp_path, capsys):
    from uda_lessons.films import recording

    monkeypatch.setattr(build, "FILMS", tmp_path)
    monkeypatch.setattr(recording, "record", lambda take, revealed, seed: repr((take.settings["beta"], seed)).encode())
    assert main(["site", "--record"]) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "beta-0.film": b"(0.0, 7)", "beta-0.1.film": b"(0.1, 7)", "beta-1.film": b"(1.0, 7)",
    }  # fmt: skip


# -- in a browser ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["from disk", "from a server"])
def address(request, site):
    """Where the site is opened."""
    if request.param == "from disk":
        yield site.as_uri()
        return
    handler = partial(type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None}), directory=site)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def opened(browser, address):
    """Opens a page of the site; no request may go to another place, and no page may raise."""
    pages, asked, errors = [], [], []

    def open(name: str, width: int = 1280, **options):
        page = browser.new_page(viewport={"width": width, "height": 900}, **options)
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("requestfailed", lambda request: errors.append(request.url))
        page.goto(f"{address}/{name}")
        pages.append(page)
        return page

    yield open
    assert [url for url in asked if not url.startswith((address, "data:", "blob:", "about:"))] == []
    assert errors == []
    for page in pages:
        page.close()


def shown(page):
    """The board on the front page that is seen."""
    return page.frame_locator(IFRAME).locator(".uda:visible")


def frame(page) -> int:
    return int(shown(page).get_attribute("data-frame"))


@pytest.mark.browser
def test_the_front_page_plays_at_once_and_its_slider_switches_runs_at_the_same_moment(opened):
    page = opened("index.html")
    shown(page).locator("canvas[data-step]").first.wait_for()
    page.wait_for_function(
        f"document.querySelector('{IFRAME}').contentDocument.querySelector('.uda').dataset.frame > 2"
    )
    inside = page.frame_locator(IFRAME)
    inside.get_by_role("button", name="Pause").locator("visible=true").click()
    slider, at, said = inside.get_by_label("recorded run"), frame(page), set()
    for i in range(3):
        slider.fill(str(i))
        said.add(inside.locator(".switch p").last.inner_text())
        assert shown(page).count() == 1
        assert abs(frame(page) - at) <= 1
    assert len(said) == 3
    shown(page).locator(".reveal").click()
    shown(page).locator(".revealed").wait_for()
    slider.focus()
    page.keyboard.press("ArrowLeft")
    shown(page).locator(".revealed").wait_for()
    assert slider.get_attribute("aria-valuetext").startswith("beta 0.1")
    assert page.locator(".front pre").count() == 2


@pytest.mark.browser
@pytest.mark.parametrize(
    "name", ["index", "notebooks/05_gradient_discrepancy", "notebooks/glossary", "docs/api/losses"]
)
def test_a_phone_scrolls_no_page_sideways(opened, name):
    page = opened(f"{name}.html", width=390)
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.browser
def test_a_lesson_plays_answers_by_keyboard_and_leads_into_the_glossary(opened):
    page = opened("notebooks/05_gradient_discrepancy.html")
    page.frame_locator(IFRAME).locator(".uda canvas[data-step]").first.wait_for()
    options = page.locator(".uda-quiz details")
    options.nth(0).locator("summary").focus()
    page.keyboard.press("Enter")
    assert options.nth(0).get_by_text("Not quite:").is_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert options.nth(1).get_by_text("Right:").is_visible()
    assert not options.nth(0).get_by_text("Not quite:").is_visible()
    answer = page.locator(".uda-help details", has=page.get_by_text("Answer", exact=True)).first
    assert not answer.locator("pre").is_visible()
    answer.locator("summary").click()
    assert "def row_cosine" in answer.locator("pre").inner_text()
    page.locator("a[href='glossary.html#gradient-discrepancy']").first.click()
    page.wait_for_url("**/glossary.html#gradient-discrepancy")
    heading = page.get_by_role("heading", name="Gradient discrepancy")
    page.wait_for_function("scrollY > 500")
    assert 0 <= heading.bounding_box()["y"] < 900


@pytest.mark.browser
def test_light_and_dark_follow_the_system_and_the_button_and_so_does_the_film(opened):
    page = opened("notebooks/01_the_gap.html", color_scheme="dark")
    board = page.frame_locator(IFRAME).locator(".uda")
    paper = "node => getComputedStyle(node).backgroundColor"
    board.locator("canvas[data-step]").first.wait_for()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert board.evaluate(paper) == "rgb(22, 25, 31)"
    page.locator(".theme-switch-button:visible").click()
    page.locator(".theme-change-button[data-mode=light]:visible").click()
    page.wait_for_function("document.documentElement.dataset.theme === 'light'")
    page.wait_for_function(
        f"getComputedStyle(document.querySelector('{IFRAME}').contentDocument.querySelector('.uda')).backgroundColor"
        " !== 'rgb(22, 25, 31)'"
    )
