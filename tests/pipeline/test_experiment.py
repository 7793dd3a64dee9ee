"""Experiments: the four papers' files against what the papers print, and one carried out."""

from __future__ import annotations

import csv
import fnmatch
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from foveal.cli import app
from foveal.errors import FovealError, RecipeError
from foveal.models import saliency
from foveal.models.saliency.protocols import PROTOCOLS
from foveal.pipeline.experiment.comparison import compare
from foveal.pipeline.experiment.model import Experiment
from foveal.pipeline.experiment.page import html, latex, numbers
from foveal.pipeline.experiment.scores import read_score, score_path
from foveal.pipeline.experiment.steps import Step, check
from foveal.pipeline.experiment.work import Work

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
FILES = ("linardos", "lsts", "tp_cmrnet", "gfsalnet")

# Rows that each printed table has, and how many of them are the paper's own networks.
PRINTED = {
    "linardos": {"T1": (5, 5), "T2": (9, 9), "T3_dhf1k": (5, 2), "T3_hollywood2": (5, 2),
                 "T3_ucf_sports": (5, 2), "T4": (4, 4)},
    "lsts": {"T1": (9, 3)},
    "tp_cmrnet": {"T1": (9, 9), "T2": (6, 1), "T3": (6, 1)},
    "gfsalnet": {"T1": (13, 4), "T2": (14, 4), "T3": (12, 2), "T4": (14, 4), "T5": (5, 1),
                 "T6": (5, 1), "T7": (6, 6), "T8": (6, 6), "T9": (6, 6)},
}  # fmt: skip

# Sums of columns, added up from the papers' tables: a digit that is wrong or swapped shows.
SUMS = {
    ("linardos", "T1", "dhf1k_val"): [4.407, 3.468, 11.242, 2.072, 1.554],
    ("linardos", "T2", "dhf1k_val"): [7.882, 6.148, 19.611, 3.713, 2.886],
    ("linardos", "T3_dhf1k", "dhf1k_test"): [4.393, 3.265, 11.347, 2.046, 1.626],
    ("linardos", "T3_hollywood2", "hollywood2_test"): [4.512, 3.6, 14.543, 2.836, 2.287],
    ("linardos", "T3_ucf_sports", "ucf_sports_test"): [4.459, 3.682, 12.668, 2.509, 1.974],
    ("linardos", "T4", "dhf1k_val"): [3.541, 2.75, 9.892, 1.786, 1.432],
    ("lsts", "T1", "dhf1k_val"): [5.9101, 7.7199, 16.69523, 3.3542],
    ("tp_cmrnet", "T1", "ucf_sports_test"): [7.905, 4.427, 6.654, 5.14, 26.532],
    ("tp_cmrnet", "T1", "dhf1k_test"): [7.873, 2.999, 6.041, 3.912, 22.36],
    ("tp_cmrnet", "T1", "hollywood2_test"): [8.016, 4.672, 6.729, 5.701, 29.433],
    ("tp_cmrnet", "T2", "dhf1k_test"): [5.285, 1.866, 3.841, 2.485, 13.903],
    ("tp_cmrnet", "T2", "hollywood2_test"): [5.405, 2.795, 4.473, 3.452, 17.49],
    ("tp_cmrnet", "T2", "ucf_sports_test"): [5.328, 2.628, 4.493, 3.196, 16.489],
    ("tp_cmrnet", "T3", "ucf_sports_test"): [501.9, 1.525],
    ("gfsalnet", "T1", "ucf_sports_test"): [11.332, 5.305, 31.943, 3.798, 27.973],
    ("gfsalnet", "T2", "hollywood2_test"): [12.159, 5.929, 32.851, 4.518, 27.728],
    ("gfsalnet", "T3", "dhf1k_test"): [10.133, 4.339, 24, 3.097],
    ("gfsalnet", "T4", "diem_test"): [11.725, 6.287, 26.204, 5.311, 23.431],
    ("gfsalnet", "T5", "diem_meta"): [4.231, 2.163, 8.464, 1.961, 7.555],
    ("gfsalnet", "T6", "ledov_meta"): [4.409, 2.133, 10.246, 1.838, 9.173],
    ("gfsalnet", "T7", "ucf_sports_test"): [5.343, 2.9, 17.693, 2.095, 11.479],
    ("gfsalnet", "T8", "ledov_meta"): [5.203, 2.39, 11.285, 1.919, 11.351],
    ("gfsalnet", "T9", "diem_meta"): [4.823, 2.085, 8.239, 1.895, 11.934],
}


@pytest.fixture(scope="module")
def loaded() -> dict[str, Experiment]:
    return {name: Experiment.load(EXPERIMENTS / f"{name}.yaml") for name in FILES}


# -- the files --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_the_tables_have_the_rows_that_the_papers_print(
    loaded: dict[str, Experiment], name: str
) -> None:
    tables = loaded[name].spec.tables
    printed = {key: [row for row in table.rows if row.published] for key, table in tables.items()}
    counts = {
        key: (len(rows), sum(row.training is not None for row in rows))
        for key, rows in printed.items()
    }
    assert counts == PRINTED[name]
    beside = [row for table in tables.values() for row in table.rows if not row.published]
    assert all(row.training and row.remark for row in beside), "what is not printed says why"
    for (file, key, target), sums in SUMS.items():
        if file == name:
            columns = zip(*(row.published[target] for row in printed[key]), strict=True)
            found = [sum(value for value in column if value is not None) for column in columns]
            assert found == pytest.approx(sums, abs=1e-9), key


def test_every_ablation_of_the_papers_is_trained(loaded: dict[str, Experiment]) -> None:
    def varied(name: str, option: str) -> set[str]:
        offered = {
            each.model: saliency.options(each.model)
            for each in loaded[name].spec.trainings.values()
        }
        return {
            str({**offered[each.model], **each.options}[option])
            for each in loaded[name].spec.trainings.values()
            if option in offered[each.model]
        }

    assert varied("linardos", "placement") == {
        "30", "61", "54", "56", "7", "[7, 54]", "[7, 56]"}  # fmt: skip
    # None is the network's own default, 0.1.
    assert varied("linardos", "alpha") == {"None", "0.05", "0.2", "0.3", "0.0"}
    assert varied("linardos", "alpha_mode") == {"fixed", "learned"}
    assert varied("linardos", "residual") == {"True", "False"}
    assert varied("tp_cmrnet", "flow_maps") == {"3", "5", "7", "9", "11"}
    for option in ("fusion", "attention", "recurrence"):
        assert len(varied("tp_cmrnet", option)) == 2
    for option in ("fusion", "spatial_attention", "channel_attention", "multi_level"):
        assert len(varied("gfsalnet", option)) == 2
    networks = {each.model for one in loaded.values() for each in one.spec.trainings.values()}
    assert networks == set(PROTOCOLS)


def test_the_protocols_of_the_papers(loaded: dict[str, Experiment]) -> None:
    lsts = loaded["lsts"]
    held = lsts.settings("lsts_rgb").validation_ids
    assert held is not None
    ids = {f"{n:03d}" for n in range(1, 601) for one in held if fnmatch.fnmatch(f"{n:03d}", one)}
    assert ids == {f"{n:03d}" for n in range(501, 601)}
    (flow,) = lsts.recipe("dhf1k").flow
    assert (flow.method, flow.compute_size, flow.size) == ("tvl1", (112, 112), (224, 224))
    gfsalnet = loaded["gfsalnet"]
    assert gfsalnet.spec.trainings["setting2"].stores == ("ucf_sports", "hollywood2", "dhf1k")
    for name in ("ucf_sports", "hollywood2", "dhf1k", "diem", "ledov"):
        recipe = gfsalnet.recipe(name)
        assert (recipe.frames.size, recipe.flow[0].method) == ((480, 640), "pwcnet")
    for experiment in loaded.values():
        assert experiment.settings(next(iter(experiment.spec.trainings))).strict_inputs
        for name, training in experiment.spec.trainings.items():
            assert training.stores or training.starts_from, name
            assert "strict_inputs" not in training.settings
    salbce = loaded["linardos"].settings("salbce")
    assert (salbce.epochs, salbce.backbone) == (27, "vgg16-imagenet")
    assert salbce.augment is not None
    assert salbce.augment.mirror


CHANGES: list[tuple[str, str]] = [
    ("tables.T1.rows.0.published.dhf1k_val=[1.0]", r"row 'SUSiNet.*1 numbers for 4 metrics"),
    ("tables.T1.rows.0.training=lsts", r"there is no 'lsts'; there are lsts_rgb, lsts_flow"),
    ("tables.T1.metrics=[nss, x, cc, sim]", r"'x' is not one of auc_judd"),
    ("trainings.lsts_rgb.weights_of=lsts_rgb", r"start from each other: lsts_rgb -> lsts_rgb"),
    ("trainings.lsts_rgb.settings.epoch=3", r"trainings\.lsts_rgb: .*did you mean 'epochs'"),
    ("trainings.lsts_rgb.settings.run=x", r"settings\.run: write it beside settings"),
    ("trainings.lsts_rgb.options.widt=3", r"has no option 'widt'"),
    ("trainings.lsts_rgb.optinos={}", r"did you mean 'options'"),
    ("stores.dhf1k.recipe.flow.0.metod=x", r"stores\.dhf1k: .*did you mean 'method'"),
    ("stores.dhf1k.recipe.dataset.kind=dhf2k", r"stores\.dhf1k: .*dhf1k"),
    ("targets.dhf1k_val.store=dhf", r"there is no 'dhf'; there are dhf1k"),
    ("targets.dhf1k_val.variant=mitt", r"targets\.dhf1k_val\.variant"),
    ("device=gpu", r"device"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES)
def test_mistakes_are_named(change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=f"(?s){message}"):
        Experiment.load(EXPERIMENTS / "lsts.yaml", overrides=[change])


def test_paths_count_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    text = (EXPERIMENTS / "lsts.yaml").read_text()
    (tmp_path / "a" / "mine.yaml").write_text(text + "folder: ../out\n")
    mine = Experiment.load(tmp_path / "a" / "mine.yaml")
    assert Path(mine.store_url("dhf1k")).resolve() == tmp_path / "out/stores/dhf1k.zarr"
    tiny = Experiment.load(tmp_path / "a" / "mine.yaml", scale="tiny")
    assert tiny.folder.resolve() == tmp_path / "out-tiny"
    with pytest.raises(RecipeError, match="scale 'small': choose one of paper, tiny"):
        Experiment.load(tmp_path / "a" / "mine.yaml", scale="small")  # type: ignore[arg-type]


def test_rows_bring_what_they_need_and_no_more(loaded: dict[str, Experiment]) -> None:
    work = Work(loaded["linardos"])
    assert [str(step) for step in work.steps(["α learned"])] == [
        "build salicon",
        "build dhf1k",
        "train salbce",
        "train salema30_dropout",
        "train salema30_alpha_learned",
        "predict salema30_alpha_learned on dhf1k_val",
        "score salema30_alpha_learned on dhf1k_val",
    ]
    assert work.steps(["salclstm"]) == work.steps(["T1/SalCLSTM, tuned", "T3_dhf1k/SalCLSTM"])
    withheld = [step for step in work.steps() if step.target == "dhf1k_test"]
    assert {step.kind for step in withheld} == {"predict"}
    with pytest.raises(RecipeError, match=r"'ACLNet': no row that can be run.*SalBCE, not tuned"):
        work.steps(["ACLNet"])


def test_all_that_is_missing_is_told_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOVEAL_WEIGHTS", str(tmp_path))
    (tmp_path / "salicon").mkdir()
    work = Work(
        Experiment.load(
            EXPERIMENTS / "gfsalnet.yaml",
            folder=tmp_path / "out",
            overrides=[f"stores.salicon.recipe.dataset.root={tmp_path / 'salicon'}"],
        )
    )
    with pytest.raises(RecipeError) as told:
        check(work.experiment, work.steps(["T5/GFSalNet"]))
    lines = str(told.value).splitlines()
    assert "stores.salicon" not in str(told.value)
    assert "  stores.dhf1k.recipe.dataset.root: no folder /data/DHF1K" in lines
    assert "  stores.diem_whole.masks.meta: no file /data/DIEM/mask-diem-test-30hz.csv" in lines
    assert any("trainings.appearance: weights resnet50-imagenet_v1" in line for line in lines)
    assert not (tmp_path / "out").exists()


# -- one of them, carried out -----------------------------------------------------------------


def foveal(*arguments: str) -> subprocess.Popen[str]:
    def heed_signals() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)

    return subprocess.Popen(
        [sys.executable, "-m", "foveal", "experiment", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=heed_signals,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LSTS at tiny scale, killed in its second training and begun again."""
    folder = tmp_path_factory.mktemp("experiment") / "lsts"
    arguments = ["run", str(EXPERIMENTS / "lsts.yaml"), "--scale", "tiny", "--folder", str(folder)]
    process = foveal(*arguments)
    first = score_path(folder, "lsts_rgb", "dhf1k_val")
    deadline = time.monotonic() + 200
    while not first.is_file():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert not score_path(folder, "lsts_rgb_flow", "dhf1k_val").is_file()
    return folder


@pytest.fixture(scope="module")
def done(folder: Path) -> dict[str, Any]:
    result = CliRunner().invoke(
        app,
        ["experiment", "run", str(EXPERIMENTS / "lsts.yaml"), "--scale", "tiny", "--folder",
         str(folder), "--json"],
        catch_exceptions=False,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def test_a_killed_experiment_goes_on(done: dict[str, Any], folder: Path) -> None:
    status = {step["step"]: step["status"] for step in done["steps"]}
    assert len(status) == 10
    assert status["build dhf1k"] == "unchanged"
    assert status["train lsts_rgb"] == "unchanged"
    assert status["train lsts_rgb_flow"] == "done"
    assert status["score lsts_rgb_flow on dhf1k_val"] == "done"
    assert done["not_run"] == []


def test_the_table_sets_ours_beside_the_printed_numbers(done: dict[str, Any], folder: Path) -> None:
    (table,) = done["tables"]
    rows = {row["name"]: row for row in table["rows"]}
    row = rows["LSTS-RGB&Flow"]
    score = read_score(folder, "lsts_rgb_flow", "dhf1k_val")
    assert score is not None
    cell = row["cells"]["dhf1k_val"]["nss"]
    assert cell["ours"] == score.means["nss"]
    assert cell["published"] == 1.38033
    assert cell["difference"] == pytest.approx(score.means["nss"] - 1.38033)  # type: ignore[operator]
    assert (row["state"], rows["ACLNet"]["state"]) == ("run", "others")
    said = " ".join(done["notes"][number - 1] for number in row["notes"])
    for what in ("tiny scale", "random weights", "i3d_flow is computed from the flow of dis"):
        assert what in said
    assert rows["ACLNet"]["notes"] == []


def test_the_files_say_the_same(done: dict[str, Any], folder: Path) -> None:
    with (folder / "tables/tables.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 9 * 4
    (one,) = [line for line in lines if (line["row"], line["metric"]) == ("LSTS-RGB", "cc")]
    assert (one["published"], one["state"]) == ("0.3868", "run")
    assert float(one["difference"]) == pytest.approx(float(one["ours"]) - 0.3868)
    tex = (folder / "tables/T1.tex").read_text(encoding="utf-8")
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == 1
    assert r"LSTS-RGB\&Flow$^{" in tex
    rows = [line for line in tex.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {line.count(" & ") for line in rows} == {3 * 4}
    page = (folder / "tables/tables.html").read_text(encoding="utf-8")
    assert "Tiny scale" in page
    assert "LSTS-RGB&amp;Flow" in page
    assert "http" not in page.split("</style>")[1], "nothing is fetched"


def test_a_second_run_changes_nothing_and_a_changed_row_is_made_again(
    done: dict[str, Any], folder: Path
) -> None:
    path = EXPERIMENTS / "lsts.yaml"
    work = Work(Experiment.load(path, scale="tiny", folder=folder))
    outcomes = [work.run(step) for step in work.steps()]
    assert {outcome.status for outcome in outcomes} == {"unchanged"}
    more = Work(Experiment.load(path, scale="tiny", folder=folder,
                                overrides=["tiny.settings.iterations=3"]))  # fmt: skip
    assert more.score_of("lsts_rgb", "dhf1k_val") is None
    rows = {row["name"]: row["state"] for row in compare(more)["tables"][0]["rows"]}
    assert rows["LSTS-RGB"] == "not run"
    other = Work(Experiment.load(path, scale="tiny", folder=folder,
                                 overrides=["tiny.settings.batch_size=3"]))  # fmt: skip
    with pytest.raises(RecipeError, match=r"batch_size was 4, is 3"):
        other.run(Step("train", "lsts_rgb"))


def test_a_damaged_score_is_named(done: dict[str, Any], folder: Path) -> None:
    path = score_path(folder, "lsts_flow", "dhf1k_val")
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"nss"', b'"nsS"'))
    try:
        with pytest.raises(FovealError, match=r"lsts_flow\.json is damaged.*remove it"):
            read_score(folder, "lsts_flow", "dhf1k_val")
    finally:
        path.write_bytes(content)


@pytest.mark.skipif("FOVEAL_ALL_EXPERIMENTS" not in os.environ, reason="takes minutes")
@pytest.mark.parametrize("name", [*FILES, "ntire2026"])
def test_every_experiment_runs_at_tiny_scale(name: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app,
        ["experiment", "run", str(EXPERIMENTS / f"{name}.yaml"), "--scale", "tiny", "--folder",
         str(tmp_path / name), "--json"],
        catch_exceptions=False,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["not_run"] == []
    assert {step["status"] for step in told["steps"]} == {"done"}


def test_tables_of_an_experiment_that_never_ran(loaded: dict[str, Experiment]) -> None:
    for experiment in loaded.values():
        comparison = compare(Work(experiment))
        own = [row for table in comparison["tables"] for row in table["rows"] if row["training"]]
        states = [row["state"] for row in own]
        assert set(states) <= {"not run", "withheld"}
        assert len(comparison["not_run"]) == states.count("not run")
        page = html(comparison)
        assert "Not run yet" in page
        assert len(numbers(comparison).splitlines()) > len(own)
        for table in comparison["tables"]:
            assert table["title"] in latex(comparison, table)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_shipped_experiments_go_by_name_and_unknown_ones_are_told(elsewhere: Path) -> None:
    done = CliRunner().invoke(app, ["experiment", "run", "linardos", "--dry-run", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["folder"] == str(elsewhere / "linardos")
    assert len(told["steps"]) == 72
    assert list(elsewhere.iterdir()) == []
    with pytest.raises(RecipeError, match="one of gfsalnet, linardos, lsts, ntire2026, tp_cmrnet"):
        CliRunner().invoke(app, ["experiment", "table", "lst"], catch_exceptions=False)
