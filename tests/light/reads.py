"""What a light install does with stores and recipes; each line fails where it cannot.

Run as ``python reads.py SYSTEM STORE STORE RECIPE ...``; see `elsewhere` for the systems.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from pathlib import Path

import elsewhere

SYSTEM, *STORES = sys.argv[1:4]
RECIPES = sys.argv[4:]
elsewhere.be(SYSTEM)

import numpy as np  # noqa: E402
import xarray as xr  # noqa: E402
import zarr  # noqa: E402

import foveal  # noqa: E402
from foveal.cli import main  # noqa: E402


def check_arrays(url: str) -> None:
    """Every array of every video is read in four ways, which agree."""
    store = foveal.open_store(url)
    assert list(store.videos.columns[:2]) == ["split", "status"]
    videos = list(store)
    assert videos
    for video in videos:
        dataset = store[video].load()
        plain = zarr.open_group(url, path=f"videos/{video}", mode="r")
        decoded = xr.open_zarr(url, group=f"videos/{video}", consolidated=False)
        for name, info in store.infos(video).items():
            values = np.asarray(plain[name])
            np.testing.assert_array_equal(store.array(video, name)[:], values)
            np.testing.assert_array_equal(dataset[name].values, decoded[name].values)
            if info.axis == "frame" and info.kind in ("picture", "map"):
                clip = store.lazy(name, clips=[(video, 1), (video, 3)], items=5)
                wanted = np.stack([values[1:6], values[3:8]])
                np.testing.assert_array_equal(clip.values, wanted)
                every = store.lazy(name, videos=[video])
                np.testing.assert_array_equal(every.values, values)
    assert url in repr(store)


def run(*arguments: str, status: int = 0) -> tuple[str, str]:
    """What a command prints on standard output and on standard error."""
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["foveal", *arguments]
    code: object = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
    assert code == status, (arguments, code, err.getvalue())
    return out.getvalue(), err.getvalue()


def check_commands(url: str) -> None:
    video = next(iter(foveal.open_store(url)))
    for arguments in (
        ["inspect", url],
        ["inspect", url, video],
        ["verify", url],
        ["status", url],
        ["clean", url],
    ):
        run(*arguments)


def check_missing() -> None:
    """What needs an extra says which one, in one line."""
    recipe = RECIPES[0]
    for arguments, package, extra in (
        (["build", recipe, "--root", "."], "av", "build"),
        (["demo", "nowhere"], "cv2", "build"),
        (["train", "salema", "--store", STORES[0]], "torch", "train"),
        (["evaluate", STORES[0]], "torch", "train"),
        (["runtime"], "torch", "train"),
        (["view", STORES[0]], "uvicorn", "view"),
        (["report", STORES[0]], "jinja2", "view"),
        (["statistics", STORES[0]], "PIL", "view"),
    ):
        _, told = run(*arguments, status=1)
        wanted = f"foveal: this needs {package}; run: pip install 'foveal[{extra}]'\n"
        assert told == wanted, (arguments, told)
    assert not Path("nowhere").exists()
    _, told = run("inspect", "s3://bucket/store.zarr", status=1)
    assert told.endswith("; run: pip install 'foveal[cloud]'\n"), told
    assert told.count("\n") == 1
    for module in ("foveal.torch", "foveal.torch.clips"):
        told = ""
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            told = str(error) if isinstance(error, foveal.MissingDependency) else repr(error)
        assert told == "this needs torch; run: pip install 'foveal[train]'", module


def check_recipes() -> None:
    for path in RECIPES:
        recipe = foveal.Recipe.load(path)
        assert foveal.Recipe.parse(recipe.resolved()) == recipe


for url in STORES:
    check_arrays(url)
    check_commands(url)
for option in ("--help", "--version"):
    run(option)
run("diff", STORES[1], STORES[1])
check_missing()
check_recipes()
loaded = set(elsewhere.EXTRAS.split()) & {name.partition(".")[0] for name in sys.modules}
assert not loaded, loaded
