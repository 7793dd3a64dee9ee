import html.parser
import json
import re
import shutil
import subprocess

import pytest
import zarr
from small_stores import RECIPE, edit_mark, vouch, write_small_index, write_small_store
from typer.testing import CliRunner

from foveal.cli import app
from foveal.errors import FovealError, StoreError
from foveal.pipeline.report.build_report import keep_report, kept_report
from foveal.pipeline.report.report import write_report
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


def name_observers(folder, *videos):
    for video in videos:
        path = folder / "videos" / video / "fixation_subject"
        zarr.open_array(path).attrs["subjects"] = ["ann", "bo"]
        vouch(Location(folder), video)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "small.zarr"
    location = write_small_store(
        folder,
        {
            "a": {"frames": 40},
            "b & c": {"frames": 9, "split": "val"},
            "bare": {"frames": 1, "stages": ("time",)},
            "dark": {"frames": 12, "stages": ("time", "flow_tvl1", "fixations")},
        },
    )
    name_observers(folder, "a", "b & c", "dark")
    reason = "broken.avi: <script>alert(1)</script> is no video; fetch it again"
    write_quarantine(location, Quarantine("broken", "DecodeError", reason, {}))
    write_small_index(location)
    return folder


@pytest.fixture(scope="module")
def report(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    return write_report(folder, path, {"took": "3 min 20 s", "workers": 2})


def test_the_page_is_whole_and_fetches_nothing(report):
    page = read_page(report)
    assert page.tags.count("h1") == 1
    # Thumbnails of the two videos that have pictures, and the centre bias.
    assert page.tags.count("img") == 3
    assert not re.search(r"https?://", report.read_text().replace("http://www.w3.org/2000/svg", ""))


def test_it_says_what_was_built_and_how_the_run_went(report):
    words = read_page(report).words()
    assert "4 of 5 videos complete" in words
    assert "3 min 20 s" in words
    assert "workers" in words
    for stage in ("frames", "flow_tvl1", "density", "fixations", "i3d_rgb"):
        assert stage in words
    assert "kind: small" in words
    assert "zarr" in words


def test_what_was_given_up_is_shown_with_its_reason_and_nothing_in_it_is_run(report):
    words = read_page(report).words()
    assert "1 given up" in words
    assert "<script>alert(1)</script> is no video; fetch it again" in words


def test_statistics_are_of_train_videos_and_exact(report):
    words = read_page(report).words()
    assert "Of 3 train videos" in words
    frames = 40 + 12
    points = sum(k % 3 for k in range(40)) + sum(k % 3 for k in range(12))
    empty = len(range(0, 40, 3)) + len(range(0, 12, 3))
    assert f"Mean {points / frames:.1f}, most 2; {empty} of {frames} frames have none" in words


def test_statistics_kept_in_the_store_are_preferred_while_they_hold(tmp_path):
    folder = tmp_path / "s.zarr"
    location = write_small_store(folder, {"a": {"frames": 9, "stages": ("time", "density")}})
    page = read_page(write_report(folder, tmp_path / "r.html"))
    assert f"foveal statistics {folder} computes them on every frame" in page.words()
    write_statistics(location, compute_statistics(open_store(folder), bias_size=(6, 8)))
    page = read_page(write_report(folder, tmp_path / "r.html"))
    assert "kept in the store as statistics/train" in page.words()
    write_small_store(folder, {"b": {"frames": 3, "stages": ("time", "density")}})
    page = read_page(write_report(folder, tmp_path / "r.html"))
    assert "Of 2 train videos; density and motion at up to 32 frames" in page.words()
    assert f"out of date: foveal statistics {folder} computes them anew" in page.words()


def test_gaze_left_out_is_counted_by_reason(tmp_path, monkeypatch):
    folder = tmp_path / "s.zarr"
    write_small_store(folder, {"a": {"frames": 9}, "b": {"frames": 9}})
    name_observers(folder, "a", "b")
    for video, blinks in (("a", 30), ("b", 12)):
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


def flow_store(folder, methods, figures):
    """A store whose videos have flow with these figures."""
    videos = {video: {"frames": 9, "stages": ("time", "flow_tvl1")} for video in figures}
    location = write_small_store(folder, videos)
    recipe = {**RECIPE, "flow": [{"method": method} for method in methods]}
    create_store(location, "small", recipe)
    for video, changes in figures.items():
        add_provenance(folder, video, "flow_tvl1", quality=GOOD_FLOW | changes)
    write_small_index(location)
    return location


def test_flow_is_told_by_median_and_worst_and_suspicious_videos_are_named(tmp_path):
    figures = {
        "calm": {},
        "fast": {"mean_magnitude_px": 30.25, "forward_backward_px": None},
        "wild": {"p99_magnitude_px": 900.0, "flags": ["exploding"]},
        "still": {"mean_magnitude_px": 0.0, "flags": ["constant"]},
        "holes": {"non_finite_values": 1234, "flags": ["non_finite"]},
    }
    flow_store(tmp_path / "s.zarr", ["tvl1"], figures)
    words = read_page(write_report(tmp_path / "s.zarr", tmp_path / "r.html")).words()
    assert "3 with suspicious flow" in words
    assert "flow_tvl1 5 1.50 px 30.25 px fast 4.0 px 900.0 px wild 2.0 2.0" in words
    assert "holes flow_tvl1 non-finite 1.50 px 4.0 px 2.0 9.0 0.25 px 1,234" in words
    assert "wild flow_tvl1 exploding" in words
    assert "still flow_tvl1 constant 0.00 px" in words
    assert "without the wanted flow" not in words


def test_fallbacks_are_listed_until_the_wanted_flow_is_there(tmp_path):
    folder = tmp_path / "s.zarr"
    location = flow_store(folder, ["raft"], {"lost": {}, "known": {}, "fine": {}})
    add_provenance(folder, "lost", "flow_tvl1", fallback_because="out of memory on <cuda>")
    marks, _ = read_journal(location)
    rows = [index_row(video, None, marks[video], None, ["flow_raft"]) for video in marks]
    next(row for row in rows if row["video"] == "known")["reason"] = "TV-L1 instead: no driver"
    write_index(location, rows)
    words = read_page(write_report(folder, tmp_path / "r.html")).words()
    assert "2 without the wanted flow" in words
    assert "lost flow_raft out of memory on <cuda>" in words
    assert "known flow_raft TV-L1 instead: no driver" in words
    create_store(location, "small", {**RECIPE, "flow": [{"method": "tvl1"}]})
    words = read_page(write_report(folder, tmp_path / "r.html")).words()
    assert "Fallbacks" not in words


def test_it_says_what_auto_chose_and_why(tmp_path):
    folder = tmp_path / "s.zarr"
    flow_store(folder, ["auto"], {"a": {}, "b": {}})
    for video in "ab":
        add_provenance(folder, video, "flow_tvl1", chosen_by="auto", because="no CUDA device")
    words = read_page(write_report(folder, tmp_path / "r.html")).words()
    assert "Method auto took tvl1 for 2 videos: no CUDA device." in words
    assert "Fallbacks" not in words


def test_a_damaged_video_is_told_and_the_rest_is_shown(tmp_path):
    folder = tmp_path / "s.zarr"
    write_small_store(folder, {"a": {"frames": 9}, "b": {"frames": 9}})
    name_observers(folder, "a", "b")
    shutil.rmtree(folder / "videos" / "a" / "density" / "c")
    page = read_page(write_report(folder, tmp_path / "r.html"))
    assert "density/c/0/0/0 is missing" in page.words()
    assert page.tags.count("img") == 2


def test_many_videos_stay_bounded_and_all_are_listed(tmp_path):
    folder = tmp_path / "s.zarr"
    names = [f"v{n:03d}" for n in range(CARDS + 12)]
    options = {"frames": 2, "stages": ("time", "density")}
    write_small_store(folder, dict.fromkeys(names, options))
    path = write_report(folder, tmp_path / "r.html")
    page = read_page(path)
    assert page.tags.count("img") == CARDS + 1
    assert f"{CARDS} of {len(names)}, evenly spread" in page.words()
    assert all(name in page.words() for name in names)


def test_an_empty_store_has_a_report_too(tmp_path):
    write_small_store(tmp_path / "s.zarr", {})
    assert (
        "0 of 0 videos" in read_page(write_report(tmp_path / "s.zarr", tmp_path / "r.html")).words()
    )


def test_a_store_in_memory_has_a_report(tmp_path):
    location = write_small_store(
        "memory://look-report", {"a": {"frames": 2, "stages": ("time", "density")}}
    )
    assert isinstance(location, Location)
    assert (
        "memory://look-report"
        in read_page(write_report("memory://look-report", tmp_path / "r.html")).words()
    )


def test_a_build_leaves_its_report_in_the_store_wherever_that_lies(tmp_path):
    videos = {"a": {"frames": 2, "stages": ("time", "density")}}
    for url in (str(tmp_path / "s.zarr"), "memory://look-kept-report"):
        location = write_small_store(url, videos)
        assert kept_report(url) is None
        assert keep_report(url, {"took": "3 min 20 s"}) == kept_report(url) == f"{url}/report.html"
        assert "3 min 20 s" in Page(location.read("report.html").decode()).words()
        assert verify(location) == []


def test_errors_name_the_place(folder, tmp_path):
    with pytest.raises(StoreError, match="no store"):
        write_report(tmp_path / "none.zarr", tmp_path / "r.html")
    with pytest.raises(FovealError, match="cannot be written to"):
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
    assert seen["images"] == [True] * 3
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
    told = run("preview", folder, "a", "-o", tmp_path / "p.png")
    assert told == {"store": str(folder), "preview": str(tmp_path / "p.png"), "missing": {}}
    told = run("export", folder, tmp_path / "out", "--array", "density")
    assert told["files"] == 40 + 9
    assert set(told["skipped"]) == {"bare", "dark"}
