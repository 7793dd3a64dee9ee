"""The page in a browser: exact frames, layers, links, lists, and nothing that a name could run."""

from __future__ import annotations

import functools
import http.server
import io
import threading
from urllib.parse import quote

import numpy as np
import pytest
import small_stores
from PIL import Image
from small_stores import HEIGHT, WIDTH
from viewed_store import EVIL, FRAMES, REASON

PIXELS = """(id) => {
  const canvas = [...document.querySelectorAll("canvas")].find((each) => each.dataset.layer === id);
  const pen = canvas.getContext("2d");
  return [...pen.getImageData(0, 0, canvas.width, canvas.height).data];
}"""


class Page:
    """The page of a viewer, and what went wrong in it."""

    def __init__(self, page, viewer):
        self.page, self.viewer, self.wrong = page, viewer, []
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("dialog", lambda dialog: (self.wrong.append("dialog"), dialog.dismiss()))
        page.on("request", lambda request: self.asked.append(request.url))
        self.asked = []

    def open(self, moment=""):
        self.page.goto(self.viewer.link() + moment)
        return self

    def at(self, frame):
        """Wait until a frame is on the screen."""
        self.page.wait_for_selector(f'body[data-frame="{frame}"]', timeout=15_000)
        return self

    def pixels(self, layer="frames"):
        return np.array(self.page.evaluate(PIXELS, layer), np.uint8).reshape(HEIGHT, WIDTH, 4)

    def layers(self):
        canvases = self.page.locator("canvas[data-layer]").evaluate_all(
            "(all) => all.map((each) => each.dataset.layer)"
        )
        return set(canvases)

    def hash(self, part):
        for _ in range(100):
            if part in self.page.url:
                return True
            self.page.wait_for_timeout(50)
        return False


@pytest.fixture
def open_page(browser, viewer):
    contexts = []

    def start(moment="", **options):
        context = browser.new_context(viewport={"width": 1280, "height": 800}, **options)
        contexts.append(context)
        context.set_default_timeout(20_000)
        page = Page(context.new_page(), viewer)
        return page.open(moment)

    yield start
    for context in contexts:
        context.close()


@pytest.mark.parametrize("k", [0, 7, FRAMES - 1])
def test_the_pixels_of_frame_k_are_those_that_are_stored(open_page, k):
    page = open_page(f"#video=001&frame={k}&layers=frames").at(k)
    np.testing.assert_array_equal(page.pixels()[..., :3], small_stores.frame(0, k))
    assert not page.wrong


def test_keys_step_jump_play_and_the_link_follows(open_page):
    page = open_page("#video=001&frame=4&layers=frames").at(4)
    press = page.page.keyboard.press
    press("ArrowRight")
    page.at(5)
    press("Shift+ArrowRight")
    page.at(15)
    press("ArrowLeft")
    page.at(14)
    np.testing.assert_array_equal(page.pixels()[..., :3], small_stores.frame(0, 14))
    assert page.hash("frame=14")
    press("Home")
    page.at(0)
    press("]")
    assert page.page.locator("#speed").input_value() == "1.5"
    press(" ")
    page.at(FRAMES - 1)  # it plays to the end and rests there
    page.page.wait_for_selector("#play[aria-label=Play]")
    np.testing.assert_array_equal(page.pixels()[..., :3], small_stores.frame(0, FRAMES - 1))
    page.page.locator("#frame").fill("9")
    page.page.locator("#frame").press("Enter")
    page.at(9)
    page.page.locator("#frame").blur()
    press("/")
    assert page.page.evaluate("() => document.activeElement.id") == "search"
    assert not page.wrong


def test_layers_are_switched_dimmed_and_set_side_by_side(open_page):
    page = open_page("#video=001&frame=6&layers=frames,saliency_a@0.4").at(6)
    assert page.layers() == {"frames", "saliency_a"}
    shown = page.page.locator("canvas[data-layer=saliency_a]")
    assert shown.evaluate("(each) => each.style.opacity") == "0.4"
    alpha = page.pixels("saliency_a")[..., 3]
    assert (alpha > 0).sum() == 1  # the one place that is predicted
    assert alpha[6 % HEIGHT, 6 % WIDTH] > 200
    for name in ("saliency_b", "odd", "flow_tvl1", "mask_meta", "arrows:flow_tvl1", "fixations"):
        page.page.locator(f'.layer[data-layer="{name}"] label').first.click()
    assert page.layers() == {"frames", "saliency_a", "saliency_b", "odd", "flow_tvl1"}
    assert page.page.locator(".panel").count() == 1
    page.page.keyboard.press("c")
    assert page.page.locator(".panel figcaption").all_text_contents() == [
        "flow_tvl1",
        "saliency_a",
        "saliency_b",
        "odd",
    ]
    assert page.page.locator("canvas[data-layer=frames]").count() == 4
    assert page.hash("compare=1")
    page.page.reload()
    page.at(6)
    assert page.page.locator(".panel").count() == 4  # the link brings all of it back
    assert not page.page.locator(".layer .problem:visible").count()
    assert not page.wrong


def test_a_timeline_jumps_where_it_is_clicked(open_page):
    page = open_page("#video=001&frame=0").at(0)
    track = page.page.locator('.track[data-track="points:fixations"] canvas')
    box = track.bounding_box()
    track.click(position={"x": box["width"] * 12.5 / FRAMES, "y": 9})
    page.at(12)
    # The counts of frames 12 and 13 are 0 and 1.
    page.page.keyboard.press("ArrowRight")
    page.at(13)
    label = page.page.locator('.track[data-track="points:fixations"] .label output')
    assert label.text_content() == "1"
    nss = page.page.locator('.track[data-track="score:nss"]')
    nss.wait_for()
    assert "reading" not in nss.text_content()
    windows = page.page.locator('.track[data-track="windows:feat_start"] output')
    windows.filter(has_text="1 of 4 hold this frame; 5 frames each").wait_for()
    assert not page.wrong


def test_a_link_to_another_moment_is_followed_in_the_open_page(open_page):
    page = open_page("#video=001&frame=3").at(3)
    page.page.evaluate("() => { location.hash = '#video=001&frame=11&layers=density' }")
    page.at(11)
    assert page.layers() == {"density"}
    # Also where the page writes the link of the old moment before it hears of the new one.
    page.page.evaluate(
        "() => { const old = location.href; location.hash = '#video=001&frame=6';"
        " history.replaceState(null, '', old) }"
    )
    page.at(6)
    page.page.evaluate(f"() => {{ location.hash = '#video={quote(EVIL)}&frame=8' }}")
    page.page.wait_for_selector("body[data-frame='8']")
    assert not page.wrong


def test_the_list_is_searched_sorted_and_has_thumbnails(open_page):
    page = open_page("#video=001").at(0)
    names = page.page.locator("#videos .name")
    page.page.locator("#videos button").first.wait_for()
    assert set(names.all_text_contents()) == {"001", "002", "009", EVIL}
    page.page.wait_for_selector('#videos button[data-video="001"] img[src^="blob:"]')
    page.page.locator("#search").fill("quarant")
    assert names.all_text_contents() == ["009"]
    page.page.locator("#search").fill("nothing like it")
    assert page.page.locator("#no-videos").is_visible()
    page.page.locator("#search").fill("")
    page.page.locator("#sort").select_option("seconds")
    page.page.locator("#direction").click()
    assert names.all_text_contents() == ["001", EVIL, "002", "009"]  # what has none comes last
    page.page.locator("#split").select_option(label="val")
    assert names.all_text_contents() == ["002"]
    assert not page.wrong


def test_names_and_reasons_are_text_and_nothing_of_them_runs(open_page):
    page = open_page(f"#video={quote(EVIL)}&frame=2").at(2)
    title = page.page.locator("#title")
    assert EVIL in title.text_content()
    assert page.page.locator("#title img, #videos img[onerror], #message script").count() == 0
    page.page.locator("#videos button", has_text="009").click()
    page.page.wait_for_selector("#message:visible")
    assert REASON in page.page.locator("#message").text_content()
    assert page.page.locator("main script, main b b").count() == 0
    assert not page.wrong


def test_a_video_of_which_little_is_there_says_so(open_page):
    page = open_page("#video=002").at(0)
    assert "Nothing to draw yet" in page.page.locator("#message").text_content()
    assert "No frames" in page.page.locator("#missing").text_content()
    assert not page.page.locator("#mute").is_visible()
    other = open_page("#video=nowhere")
    other.page.wait_for_selector("#message:visible")
    assert "has no video 'nowhere'" in other.page.locator("#message").text_content()
    assert not page.wrong + other.wrong


def test_the_picture_is_saved_as_png(open_page):
    page = open_page("#video=001&frame=7&layers=frames").at(7)
    with page.page.expect_download() as saved:
        page.page.keyboard.press("e")
    assert saved.value.suggested_filename == "001-frame-7.png"
    content = io.BytesIO(open(saved.value.path(), "rb").read())  # noqa: SIM115, PTH123
    image = np.asarray(Image.open(content).convert("RGB")).astype(int)
    height, width = image.shape[:2]
    centre = image[height // 12, width // 16]
    assert np.abs(centre - small_stores.frame(0, 7)[0, 0]).max() <= 3


def test_the_page_asks_its_own_server_only_and_hides_the_token(open_page, viewer):
    page = open_page("#video=001&frame=1").at(1)
    page.page.wait_for_timeout(300)
    own = f"http://127.0.0.1:{viewer.port}/"
    assert all(url.startswith((own, "blob:", "data:")) for url in page.asked)
    assert viewer.keys.token not in page.page.url
    assert viewer.keys.token not in page.page.content()
    page.page.reload()
    page.at(1)


def test_sound_is_there_to_be_played(open_page):
    page = open_page("#video=001&frame=0").at(0)
    page.page.wait_for_selector("#mute:visible")
    page.page.keyboard.press("m")
    assert page.page.locator("#mute").get_attribute("aria-pressed") == "true"
    audio = page.page.locator("audio")
    page.page.locator("#speed").select_option("0.5")
    page.page.keyboard.press(" ")
    at_last = f'body[data-frame="{FRAMES - 1}"]'
    heard = []
    while not page.page.locator(at_last).count() and len(heard) < 500:
        heard.append(audio.evaluate("(each) => each.paused ? 0 : each.currentTime"))
    page.at(FRAMES - 1)
    assert max(heard) > 1
    page.page.wait_for_selector("#play[aria-label=Play]")
    assert audio.evaluate("(each) => each.paused")
    assert not page.wrong


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_it_fits_a_phone_and_both_schemes(browser, viewer, tmp_path, width, scheme):
    context = browser.new_context(
        viewport={"width": width, "height": 740}, color_scheme=scheme, has_touch=width < 500
    )
    page = Page(context.new_page(), viewer).open("#video=001&frame=5").at(5)
    room = page.page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
    assert room[0] <= room[1]
    buttons = page.page.locator("button:visible, select:visible, input:visible, summary:visible")
    nameless = buttons.evaluate_all(
        """(all) => all.filter((each) => !(each.getAttribute("aria-label")
            || each.textContent.trim() || each.closest("label"))).length"""
    )
    assert nameless == 0
    content = page.page.screenshot(path=tmp_path / "page.png")
    shown = np.asarray(Image.open(io.BytesIO(content)).convert("L")).astype(float)
    assert (np.median(shown) < 100) == (scheme == "dark")
    if width == 360:
        assert not page.page.locator("#search").is_visible()
        page.page.locator("#open-list").click()
        page.page.locator("#videos button", has_text="002").click()
        page.page.wait_for_selector("body[data-video='002']")
    assert not page.wrong
    context.close()


def test_inside_a_notebooks_page_it_needs_no_cookie(browser, store, serve, tmp_path):
    inner = serve(store, framed=True)
    (tmp_path / "notebook.html").write_text(
        f'<iframe width="900" height="700" src="{inner.link("001", 6)}"></iframe>'
    )
    handler = functools.partial(QuietFiles, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as outer:
        threading.Thread(target=outer.serve_forever, daemon=True).start()
        context = browser.new_context()
        page = context.new_page()
        # Another name of this machine: to the browser another site.
        page.goto(f"http://localhost:{outer.server_port}/notebook.html")
        shown = page.frame_locator("iframe")
        shown.locator('body[data-frame="6"]').wait_for()
        shown.locator("#on").click()
        shown.locator('body[data-frame="7"]').wait_for()
        refused = context.new_page()
        (tmp_path / "notebook.html").write_text(
            f'<iframe src="http://127.0.0.1:{inner.port}/?token=wrong"></iframe>'
        )
        refused.goto(f"http://localhost:{outer.server_port}/notebook.html")
        refused.frame_locator("iframe").get_by_text("opens by its link").wait_for()
        context.close()
        outer.shutdown()


class QuietFiles(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing."""
