import html.parser
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from builds import I3D, build, multiply, recipe_values, reindex, write_prediction, write_raw
from small_stores import edit_mark
from typer.testing import CliRunner

from foveal.cli import app
from foveal.errors import FovealError, StoreError
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.report.kept import kept_report
from foveal.pipeline.report.report import keep_report, write_report
from foveal.pipeline.report.survey import CARDS
from foveal.storage.index import index_row, write_index
from foveal.storage.location import Location
from foveal.storage.marks import Quarantine, read_journal, write_quarantine
from foveal.storage.reader import open_store
from foveal.storage.root import create_store
from foveal.storage.statistics import compute_statistics, write_statistics
from foveal.storage.verify import verify

VOID = {"meta", "link", "img", "br", "hr", "input"}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


class Page(html.parser.HTMLParser):
    """Checks nesting as it reads; keeps tags, links and text."""

    def __init__(self, content):
        super().__init__()
        self.open, self.tags, self.links, self.text, self.style = [], [], [], [], ""
        self.feed(content)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "srcset")]
        assert not any(name.startswith("on") for name, _ in attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            self.style += data
        else:
            self.text.append(data)

    def words(self):
        return " ".join(" ".join(self.text).split())


def read_page(path):
    page = Page(path.read_text(encoding="utf-8"))
    assert all(link.startswith("data:") for link in page.links)
    assert "@import" not in page.style
    assert "url(" not in page.style
    assert "script" not in page.tags
    return page


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return write_raw(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def folder(raw, tmp_path_factory):
    """001 and a twin with everything and a prediction, 601 without pictures, one given up."""
    folder = tmp_path_factory.mktemp("report") / "store.zarr"
    dark = recipe_values(raw, folder, frames=None, density=None)
    build(Recipe.parse(dark), only=["601"])
    build(Recipe.parse(recipe_values(raw, folder, i3d=I3D)), only=["001"])
    store = open_store(folder)
    write_prediction(store, "001", "mine", np.ones((20, 4, 4), np.float32))
    multiply(store, "001", ["b & c"])
    reason = "broken.avi: <script>alert(1)</script> is no video; fetch it again"
    write_quarantine(Location(folder), Quarantine("broken", "DecodeError", reason, {}))
    reindex(str(folder))
    return folder


def built(raw, url, only=("002",), **sections):
    """A store of some of the clips, without flow."""
    build(Recipe.parse(recipe_values(raw, url, **({"flow": []} | sections))), only=list(only))
    return open_store(url)


@pytest.fixture(scope="module")
def report(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    return write_report(folder, path, {"took": "3 min 20 s", "workers": 2})


PICTURES = 2 * 3 + 1
"""Frame, density and prediction of two videos, and the centre bias."""


def test_the_page_is_whole_and_fetches_nothing(report):
    page = read_page(report)
    assert page.tags.count("h1") == 1
    assert page.tags.count("img") == PICTURES
    assert not re.search(r"https?://", report.read_text())


def test_it_says_what_was_built_and_how_the_run_went(report):
    words = read_page(report).words()
    assert "3 of 4 videos complete" in words
    assert "3 min 20 s" in words
    assert "workers" in words
    for stage in ("frames", "flow_tvl1", "density", "fixations", "i3d_rgb", "saliency_mine"):
        assert stage in words
    assert "kind: dhf1k" in words
    assert "zarr" in words


def test_a_prediction_is_shown_beside_the_density(report):
    alts = re.findall('<img [^>]*alt="([^"]*)"', report.read_text())
    about = "frame 10 of 001"
    assert [alt for alt in alts if about in alt] == [
        about, f"{about} under density", f"{about} under saliency_mine"
    ]  # fmt: skip


def test_what_was_given_up_is_shown_with_its_reason_and_nothing_in_it_is_run(report):
    words = read_page(report).words()
    assert "1 given up" in words
    assert "<script>alert(1)</script> is no video; fetch it again" in words


def test_statistics_are_of_train_videos_and_exact(folder, report):
    words = read_page(report).words()
    assert "Of 2 train videos" in words
    counts = 2 * [*np.diff(open_store(folder)["001"].fixation_offset.values)]
    empty = counts.count(0)
    about = f"Mean {np.mean(counts):.1f}, most {max(counts)}; {empty} of {len(counts)} frames"
    assert f"{about} have none" in words


def test_statistics_kept_in_the_store_are_preferred_while_they_hold(raw, tmp_path):
    folder = tmp_path / "s.zarr"
    store = built(raw, folder)
    page = read_page(write_report(folder, tmp_path / "r.html"))
    assert f"foveal statistics {folder} computes them on every frame" in page.words()
    write_statistics(Location(folder), compute_statistics(store, bias_size=(6, 8)))
    page = read_page(write_report(folder, tmp_path / "r.html"))
    assert "kept in the store as statistics/train" in page.words()
    multiply(store, "002", ["b"])
    page = read_page(write_report(folder, tmp_path / "r.html"))
    assert "Of 2 train videos; density and motion at up to 32 frames" in page.words()
    assert f"out of date: foveal statistics {folder} computes them anew" in page.words()


def test_gaze_left_out_is_counted_by_reason(raw, tmp_path):
    folder = tmp_path / "s.zarr"
    multiply(built(raw, folder), "002", ["b"])
    for video, blinks in (("002", 30), ("b", 12)):
        excluded = {"blink": blinks, "off_screen": 0}
        add_provenance(folder, video, "fixations", excluded_samples=excluded, samples_read=100)
    words = read_page(write_report(folder, tmp_path / "r.html")).words()
    assert "42 gaze samples of 200 read are in no fixated point" in words
    assert "blink 42 21.0%" in words
    assert "off screen" not in words


GOOD_FLOW = {
    "pairs": 8,
    "mean_magnitude_px": 1.5,
    "p99_magnitude_px": 4.0,
    "photometric_error": 2.0,
    "photometric_error_unwarped": 9.0,
    "forward_backward_px": 0.25,
    "non_finite_values": 0,
    "flags": [],
}


def add_provenance(folder, video, stage, **values):
    edit_mark(Location(folder), video, stage, lambda mark: mark["provenance"].update(values))


def flow_store(raw, folder, method, figures):
    """Videos with flow by TV-L1 of these figures, in a store whose recipe wants `method`."""
    bare = {"frames": None, "fixations": None, "density": None}
    store = built(raw, folder, flow=[{"method": "tvl1", "size": [24, 32]}], **bare)
    multiply(store, "002", figures)
    for path in (folder / "videos" / "002", folder / "_foveal" / "002"):
        shutil.rmtree(path)
    want(folder, method)
    for video, changes in figures.items():
        add_provenance(folder, video, "flow_tvl1", quality=GOOD_FLOW | changes)
    reindex(str(folder))
    return Location(folder)


def want(folder, method):
    """Let the recipe of a store ask for another method of flow."""
    store = open_store(folder)
    recipe = {**store.recipe, "flow": [{"method": method}]}
    create_store(Location(folder), store.dataset, recipe)


def test_flow_is_told_by_median_and_worst_and_suspicious_videos_are_named(raw, tmp_path):
    figures = {
        "calm": {},
        "fast": {"mean_magnitude_px": 30.25, "forward_backward_px": None},
        "wild": {"p99_magnitude_px": 900.0, "flags": ["exploding"]},
        "still": {"mean_magnitude_px": 0.0, "flags": ["constant"]},
        "holes": {"non_finite_values": 1234, "flags": ["non_finite"]},
    }
    flow_store(raw, tmp_path / "s.zarr", "tvl1", figures)
    words = read_page(write_report(tmp_path / "s.zarr", tmp_path / "r.html")).words()
    assert "3 with suspicious flow" in words
    assert "flow_tvl1 5 1.50 px 30.25 px fast 4.0 px 900.0 px wild 2.0 2.0" in words
    assert "holes flow_tvl1 non-finite 1.50 px 4.0 px 2.0 9.0 0.25 px 1,234" in words
    assert "wild flow_tvl1 exploding" in words
    assert "still flow_tvl1 constant 0.00 px" in words
    assert "without the wanted flow" not in words


def test_fallbacks_are_listed_until_the_wanted_flow_is_there(raw, tmp_path):
    folder = tmp_path / "s.zarr"
    location = flow_store(raw, folder, "raft", {"lost": {}, "known": {}, "fine": {}})
    add_provenance(folder, "lost", "flow_tvl1", fallback_because="out of memory on <cuda>")
    marks, _ = read_journal(location)
    rows = [index_row(video, None, marks[video], None, ["flow_raft"]) for video in marks]
    next(row for row in rows if row["video"] == "known")["reason"] = "TV-L1 instead: no driver"
    write_index(location, rows)
    words = read_page(write_report(folder, tmp_path / "r.html")).words()
    assert "2 without the wanted flow" in words
    assert "lost raft out of memory on <cuda>" in words
    assert "known raft TV-L1 instead: no driver" in words
    want(folder, "tvl1")
    words = read_page(write_report(folder, tmp_path / "r.html")).words()
    assert "Fallbacks" not in words


def test_it_says_what_auto_chose_and_why(raw, tmp_path):
    folder = tmp_path / "s.zarr"
    flow_store(raw, folder, "auto", {"a": {}, "b": {}})
    for video in "ab":
        add_provenance(folder, video, "flow_tvl1", chosen_by="auto", because="no CUDA device")
    words = read_page(write_report(folder, tmp_path / "r.html")).words()
    assert "Method auto made flow_tvl1 of 2 videos: no CUDA device." in words
    assert "Fallbacks" not in words


def test_a_damaged_video_is_told_and_the_rest_is_shown(raw, tmp_path):
    folder = tmp_path / "s.zarr"
    multiply(built(raw, folder), "002", ["b"])
    shutil.rmtree(folder / "videos" / "b" / "density" / "c")
    page = read_page(write_report(folder, tmp_path / "r.html"))
    assert "density/c/0/0/0 is missing" in page.words()
    assert page.tags.count("img") == 2 + 1


def test_many_videos_stay_bounded_and_all_are_listed(raw, tmp_path):
    folder = tmp_path / "s.zarr"
    names = [f"v{n:03d}" for n in range(CARDS + 11)]
    multiply(built(raw, folder, frames=None, fixations=None), "002", names)
    page = read_page(write_report(folder, tmp_path / "r.html"))
    assert page.tags.count("img") == CARDS + 1
    assert f"{CARDS} of {len(names) + 1}, evenly spread" in page.words()
    assert all(name in page.words() for name in names)


def test_an_empty_store_has_a_report_too(tmp_path):
    folder = tmp_path / "s.zarr"
    create_store(Location(folder), "none", {"flow": []})
    reindex(str(folder))
    assert "0 of 0 videos" in read_page(write_report(folder, tmp_path / "r.html")).words()


def test_a_build_leaves_its_report_in_the_store_wherever_that_lies(raw, tmp_path):
    for url in (str(tmp_path / "s.zarr"), "memory://look-kept-report"):
        built(raw, url, frames=None)
        assert kept_report(url) is None
        assert keep_report(url, {"took": "3 min 20 s"}) == kept_report(url) == f"{url}/report.html"
        words = Page(Location(url).read("report.html").decode()).words()
        assert "3 min 20 s" in words
        assert url in words
        assert verify(Location(url)) == []


def test_errors_name_the_place(folder, tmp_path):
    with pytest.raises(StoreError, match="no store"):
        write_report(tmp_path / "none.zarr", tmp_path / "r.html")
    with pytest.raises(FovealError, match="cannot be written: "):
        write_report(folder, tmp_path / "none" / "r.html")


WRAPPER = """<!DOCTYPE html><title>waiting</title>
<iframe id="page" style="width:{width}px;height:900px;border:0" src="{url}"></iframe>
<script>
onload = () => {{
  const page = document.getElementById("page").contentDocument;
  document.title = JSON.stringify({{
    wide: page.documentElement.scrollWidth,
    headings: page.querySelectorAll("h2").length,
    images: [...page.images].map(image => image.complete && image.naturalWidth > 0),
    cards: getComputedStyle(page.querySelector(".cards")).gridTemplateColumns.split(" ").length,
    ground: getComputedStyle(page.body).backgroundColor,
  }});
}};
</script>"""


@pytest.mark.parametrize(
    ("width", "columns", "dark"), [(360, 1, False), (390, 1, True), (1280, 3, False)]
)
def test_a_browser_lays_it_out_without_sideways_scrolling(report, tmp_path, width, columns, dark):
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser in PATH (looked for {', '.join(BROWSERS)})")
    wrapper = tmp_path / "wrapper.html"
    wrapper.write_text(WRAPPER.format(width=width, url=report.as_uri()))
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}",
        f"--window-size={width + 100},1000", *(["--force-dark-mode"] if dark else []),
        "--dump-dom", wrapper.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    found = re.search(r"<title>(.*?)</title>", done.stdout)
    assert found, done.stderr
    seen = json.loads(html.unescape(found[1]))
    assert seen["wide"] <= width
    assert seen["images"] == [True] * PICTURES
    assert seen["headings"] >= 6
    assert seen["cards"] == columns
    channels = [int(value) for value in re.findall(r"\d+", seen["ground"])]
    assert max(channels) < 60 if dark else min(channels) > 200


def test_commands_that_draw_and_hand_on_tell_machines_where(folder, tmp_path):
    def run(*arguments):
        done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
        assert done.exit_code in (0, 3), done.output
        return json.loads(done.stdout)

    told = run("report", folder, "-o", tmp_path / "r.html")
    assert told == {"store": str(folder), "report": str(tmp_path / "r.html")}
    told = run("preview", folder, "001", "-o", tmp_path / "p.png")
    assert told == {"store": str(folder), "preview": str(tmp_path / "p.png"), "missing": {}}
    told = run("export", folder, tmp_path / "out", "--array", "density")
    assert told["files"] == 2 * 20
    assert set(told["skipped"]) == {"601"}
    told = run("inspect", folder, "001")
    assert told["stages"]["saliency_mine"]["arrays"]["saliency_mine"]["role"] == "prediction"
    assert list(told["stages"])[:4] == ["time", "frames", "density", "saliency_mine"]
