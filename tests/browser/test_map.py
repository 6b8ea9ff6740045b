"""The feature map on a page of its own, without a notebook: hands, eyes and the number of draws."""

import json

import pytest

from uda_lessons import canvas
from uda_lessons.board import figures

ORIGIN = "http://map.test"
SIDE = 540
WORDS = {"source": "source, by label", "target": "target, by prediction", "filled": "centroids", "hollow": "centroids"}
PAGE = """
<!doctype html><body class="uda" style="margin: 0"><div class="stage" style="width: %(side)dpx"></div>
<script type="module">
import { makeMap } from "./map.mjs";
import { addTip } from "./tip.mjs";
import { makeLegend } from "./legend.mjs";
const names = "%(names)s".split(" "), C = names.length, N = 4 * C; // two source points of each class, two target points
const look = %(look)s, bytes = (numbers) => new DataView(Uint16Array.from(numbers).buffer);
const labels = Array.from({ length: N / 2 }, (_, i) => i %% C), stage = document.querySelector(".stage"), film = [];
const facts = { classes: names, source: N / 2, target: N / 2, labels: bytes(labels), no_label: 65535, image: [],
  words: %(words)s };
const uint16 = (numbers) => Uint16Array.from(numbers);
let sent = 0;
const place = (c, k) => [7000 + 9000 * (c %% 6) + 40 * k, 9000 + 9000 * Math.floor(c / 6) + 60 * k];
window.add = (k = film.length) => {
  const positions = [...labels, ...labels].flatMap((c, i) => place(c, k + 60 * (i >= N / 2) + 10 * (i %% 7)));
  const centroids = [0, 60].flatMap((gap) => names.flatMap((_, c) => place(c, k + gap)));
  film.push({ step: k, map: "UMAP", sent: ++sent, positions: uint16(positions), centroids: uint16(centroids),
    predictions: uint16([...labels, ...labels]), pseudo: uint16(labels), numbers: {}, notes: [] });
  return film.at(-1);
};
const legend = makeLegend(facts, look), map = makeMap(facts, look, stage, () => film);
stage.after(legend.node, legend.swatches);
addTip(map, stage, facts, null, (text) => (window.said = text));
window.draws = 0;
const put = CanvasRenderingContext2D.prototype.putImageData;
CanvasRenderingContext2D.prototype.putImageData = function (...rest) { window.draws++; put.apply(this, rest); };
Object.assign(window, { map, film, look, stage, overlays: 0 });
const clear = CanvasRenderingContext2D.prototype.clearRect;
CanvasRenderingContext2D.prototype.clearRect = function (...rest) { window.overlays++; clear.apply(this, rest); };
map.resize(look.light);
map.show(add(), null, true);
</script>
"""


@pytest.fixture(scope="module")
def window(browser):
    page = browser.new_page(viewport={"width": 700, "height": 800})
    yield page
    page.close()


@pytest.fixture
def open_map(window):
    """A function that opens a map of these classes; errors of the page fail the test."""
    errors = []

    def opened(classes=("zero", "one", "two")):
        content = {
            "side": SIDE,
            "names": " ".join(classes),
            "look": json.dumps(figures.LOOK),
            "words": json.dumps(WORDS),
        }
        window.unroute_all()
        window.route(
            f"{ORIGIN}/*.mjs", lambda route: route.fulfill(path=canvas.HERE / route.request.url.split("/")[-1])
        )
        html = f"<style>{canvas.style()}</style>{PAGE % content}"
        window.route(f"{ORIGIN}/", lambda route: route.fulfill(body=html, content_type="text/html"))
        window.goto(f"{ORIGIN}/")
        window.wait_for_function("window.map?.points.dataset.step === '0'")
        return window

    window.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    assert errors == []


def shows(page, *colours: str) -> list[bool]:
    """Whether some pixel of the points is nearly of each colour (edges are smooth)."""
    return page.evaluate(
        """wanted => {
        const { data } = map.points.getContext("2d").getImageData(0, 0, map.points.width, map.points.height);
        const near = (i, colour) => colour.every((v, k) => Math.abs(data[4 * i + k] - v) < 16);
        const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
        const pixels = [...Array(data.length / 4).keys()];
        return wanted.map(rgb).map((colour) => pixels.some((i) => near(i, colour)));
    }""",
        colours,
    )


def overlay(page) -> str:
    return page.evaluate("map.over.toDataURL()")


def where(page, i: int) -> tuple[float, float]:
    """Of a point on the page."""
    return tuple(
        page.evaluate(
            "i => { const b = map.over.getBoundingClientRect(), [x, y] = map.where(i); return [b.x + x, b.y + y]; }", i
        )
    )


def test_a_switch_colours_by_domain(open_map):
    page, (source, target, third) = open_map(), figures.CLASS_COLOURS[:3]
    assert shows(page, source, target, third) == [True, True, True]
    page.get_by_text("Domains").click()
    assert shows(page, source, target, third) == [True, True, False]
    assert page.locator(".legend .source").inner_text() == "source"
    page.get_by_text("Domains").click()
    assert shows(page, third) == [True]
    assert page.locator(".legend .source").inner_text() == "source, by label"


def test_the_dark_theme_has_colours_of_its_own(open_map):
    page = open_map()
    page.evaluate("map.resize(look.dark)")
    light, dark = (figures.LOOK[theme] for theme in ("light", "dark"))
    assert all(shows(page, dark["paper"], *dark["classes"][:3]))
    assert shows(page, light["paper"]) == [False]


def test_a_switch_joins_the_stars(open_map):
    page = open_map()
    before = overlay(page)
    page.get_by_text("Lines").click()
    assert overlay(page) != before
    page.get_by_text("Lines").click()
    assert overlay(page) == before


def test_keys_buttons_wheel_and_drag_zoom_and_pan(open_map):
    page = open_map()
    home, at = page.get_by_role("button", name="Show the whole map"), where(page, 0)
    assert home.is_disabled()
    page.mouse.move(*at)
    page.mouse.wheel(0, -200)  # scrolls the notebook: the map does not have the focus
    assert home.is_disabled()
    page.locator("canvas").nth(1).focus()
    page.mouse.wheel(0, -200)
    page.wait_for_function("document.querySelector('[aria-label^=Show]').disabled === false")
    assert where(page, 0) == pytest.approx(
        at, abs=SIDE / 60
    )  # what lay under the pointer stays there, but for the border
    page.keyboard.press("0")
    assert where(page, 0) == at
    for _ in range(2):
        page.keyboard.press("+")
    page.mouse.move(300, 300)
    page.mouse.down()
    before = where(page, 0)
    page.mouse.move(320, 290, steps=2)
    page.mouse.up()
    dx, dy = (b - a for a, b in zip(before, where(page, 0), strict=True))
    assert (dx, dy) == pytest.approx((20, -10), abs=2)
    assert page.evaluate("map.followed") == -1
    home.click()
    assert where(page, 0) == at
    assert page.locator("canvas").nth(1).get_attribute("data-lm-suppress-shortcuts") == "true"


def test_a_click_follows_a_point_through_the_film_until_escape(open_map):
    page = open_map()
    page.evaluate("for (let k = 1; k < 9; k++) map.show(add(20 * k), null, false)")
    alone, i = overlay(page), 11
    page.mouse.move(*where(page, i))
    assert page.evaluate("map.chosen") >= 0
    page.mouse.click(*where(page, i))
    followed = page.evaluate("map.followed")
    assert followed == page.evaluate("map.chosen")
    page.mouse.move(5, 5)
    assert overlay(page) != alone
    now, long = where(page, followed), ink(page, followed)
    page.evaluate("map.show(film[1], null, false)")
    assert where(page, followed) != now
    assert 0 < ink(page, followed) < long  # its trail was shorter then
    page.evaluate("map.show(film.at(-1), null, false)")
    page.locator("canvas").nth(1).focus()
    trail = overlay(page)
    page.keyboard.press("Escape")
    assert page.evaluate("map.followed") == -1
    assert overlay(page) != trail


def ink(page, i: int) -> int:
    """Pixels that differ between the overlay with point i followed and without."""
    return page.evaluate(
        """i => {
        const read = () => map.over.getContext("2d").getImageData(0, 0, map.over.width, map.over.height).data;
        const on = read(); map.follow(-1); const off = read(); map.follow(i);
        return on.filter((v, k) => v !== off[k]).length;
    }""",
        i,
    )


def test_hovering_a_star_names_it(open_map):
    page = open_map()
    x, y = where(page, 1)  # of class one, beside its star
    page.mouse.move(x - 2, y)
    assert page.locator(".tip").inner_text() == "one\nsource: centroids"


def test_31_classes_have_a_whole_legend(open_map):
    page = open_map([f"class_{c}" for c in range(31)])
    looks = page.locator(".legend.hue svg").evaluate_all("nodes => nodes.map((node) => node.innerHTML)")
    assert len(set(looks)) == len(looks) == 31


def test_it_draws_twelve_times_a_second_at_most_while_frames_keep_arriving(open_map):
    page = open_map()
    page.evaluate("map.show(add(1), null, true)")
    page.wait_for_function("map.points.dataset.step === '1'")
    made, frames, seconds = page.evaluate("""async () => {
        await new Promise((done) => setTimeout(done, 300));
        map.show(add(2), null, true);
        const [before, began] = [draws, performance.now()];
        for (let k = 3; k < 30; k++) {
            await new Promise((done) => setTimeout(done, 50));
            map.show(add(k), null, true);
        }
        return [draws - before, 27, (performance.now() - began) / 1000];
    }""")
    assert frames / 4 < made <= 12 * seconds + 2
    page.wait_for_function("map.points.dataset.step === '29'")  # and comes to rest at the last one


def test_nothing_is_drawn_that_did_not_change(open_map):
    page = open_map()
    count = "() => [draws, overlays]"
    page.wait_for_timeout(100)
    before = page.evaluate(count)
    page.evaluate("map.show(film[0], null, true); map.resize(look.light); map.show(film[0], null, false)")
    page.wait_for_timeout(100)
    assert page.evaluate(count) == before
    page.evaluate("map.show({ ...add(5), centroids: film[0].centroids }, null, false)")
    assert page.evaluate(count) == [before[0] + 1, before[1]]  # the stars stood still


def test_reduced_motion_means_one_draw_for_each_frame(open_map):
    page = open_map()
    page.emulate_media(reduced_motion="reduce")
    before = page.evaluate("draws")
    page.evaluate("map.show(add(5), null, true)")
    page.wait_for_timeout(100)
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate("draws") == before + 1
    page.evaluate("map.show(film[0], null, true)")
    page.wait_for_function("map.points.dataset.step === '0'")
    assert page.evaluate("draws") > before + 2  # by hand, it glides
