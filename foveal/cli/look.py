"""``foveal preview``, ``report``, ``statistics``, ``export``: look at a store, and export it."""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.console import (
    INCOMPLETE,
    ROWS,
    Cluster,
    Json,
    counting,
    out,
    print_json,
    print_table,
)
from foveal.cli.submission import submit
from foveal.errors import RecipeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foveal.pipeline.export.tree_check import TreeCheck

Store = Annotated[str, typer.Argument(help="Path or URL of the store.")]


def preview(
    store: Store,
    video: Annotated[str, typer.Argument(help="Id of one video.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="x.png: contact sheet; x.mp4, x.gif: film.")
    ],
    frame: Annotated[
        list[int] | None, typer.Option(help="Show this frame. Repeatable; default: evenly spaced.")
    ] = None,
    columns: Annotated[int, typer.Option(min=1, max=24, help="Columns of a sheet.")] = 6,
    as_json: Json = False,
) -> None:
    """Draw all arrays of a video side by side: pictures, flow, gaze, predictions, curves."""
    from foveal.pipeline.preview.preview import write_preview

    with counting("drawing") as advance:
        made = write_preview(
            store,
            video,
            output,
            frames=frame,
            columns=columns,
            advance=lambda done, of: advance(video, done, of),
        )
    if as_json:
        values = {"store": store, "preview": str(made.path), "missing": dict(made.missing)}
        print_json(values | ({"cut": made.cut} if made.cut else {}))
        return
    if made.cut:
        out.print(made.cut, markup=False)
    for section, why in made.missing.items():
        out.print(f"not shown: {section}: {why}", markup=False)
    out.print(str(made.path), markup=False)


def report(
    store: Store,
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")] = Path(
        "report.html"
    ),
    as_json: Json = False,
) -> None:
    """Write one self-contained page about a store: problems, flow, scores, statistics, videos.

    A build writes such a page into the store as report.html; this one shows the store as it is now.
    """
    from foveal.pipeline.report.report import write_report

    path = write_report(store, output)
    if as_json:
        print_json({"store": store, "report": str(path)})
    else:
        out.print(str(path), markup=False)


def statistics(
    store: Store,
    split: Annotated[str, typer.Option(help="Split of the videos; 'all' for every one.")] = "train",
    cluster: Cluster = None,
    as_json: Json = False,
) -> None:
    """Compute and store channel means, flow magnitudes, centre bias, and fixations per frame."""
    from foveal.storage.location import Location
    from foveal.storage.reader import open_store
    from foveal.storage.statistics import compute_statistics, write_statistics

    opened = open_store(store)
    with ExitStack() as stack:
        if cluster is not None:
            from foveal.flows.compute import on_cluster

            stack.enter_context(on_cluster(cluster))
        found = compute_statistics(opened, None if split == "all" else split)
    write_statistics(Location(store), found)
    if as_json:
        values = {str(name): _finite(array.values.tolist()) for name, array in found.items()}
        print_json({"store": store, "split": split, "statistics": values})
        return
    print_table(
        f"{store}: statistics of {split}",
        ("statistic", "what it is", "value"),
        [
            (name, array.attrs.get("long_name", ""), _statistic(array.values))
            for name, array in found.items()
            if array.dtype.kind in "iuf"
        ],
    )
    out.print("all values, also of maps: --json, or store.statistics() in Python", markup=False)


def _finite(values: Any) -> Any:
    """The same values for JSON, where infinity and NaN become null."""
    if isinstance(values, list):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def _statistic(values: NDArray[Any]) -> str:
    """All values of a row of numbers; shape, range and maximum of a map."""
    if values.ndim < 2:
        return ", ".join(f"{item:.6g}" for item in values) if values.ndim else f"{values:.6g}"
    height, width = values.shape[-2:]
    y, x = divmod(int(values.argmax()) % (height * width), width)
    return f"{height}x{width}, {values.min():.3g} to {values.max():.3g}, greatest at y {y}, x {x}"


def export(
    store: Store,
    folder: Annotated[Path, typer.Argument(help="Folder for the files.")],
    what: Annotated[
        list[str],
        typer.Option("--array", help="frames, flow_tvl1, density, fixations, … Repeatable."),
    ],
    form: Annotated[
        str | None,
        typer.Option(
            help="Pictures: png, jpg, npy; flow: flo, kitti, color, npy; maps: png, npy; else npy."
        ),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Only this video (id). Repeatable.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    flat: Annotated[
        bool | None,
        typer.Option(
            "--flat/--no-flat",
            help="0001/0001.png, as DHF1K's evaluation expects predictions; "
            "default for predictions at the source's size.",
        ),
    ] = None,
    source_size: Annotated[
        bool, typer.Option("--source-size", help="Resize pictures to the source video's size.")
    ] = False,
    webdataset: Annotated[
        bool, typer.Option("--webdataset", help="Tar shards of clips instead of files.")
    ] = False,
    clip_frames: Annotated[int, typer.Option(min=1, help="Frames per WebDataset sample.")] = 1,
    submission: Annotated[
        str | None,
        typer.Option(help="ntire2026: a grey video of the prediction per test video."),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; check that the folder is a whole tree."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Export arrays as files: pictures, .flo, .npy, WebDataset shards, or a submission.

    DHF1K's evaluation expects predictions as pictures at the source's size. Names, counts and
    sizes of that tree are compared with the store after writing. Exit status 3: videos were
    skipped, or the tree is not whole.
    """
    if submission is not None:
        submit(store, folder, what, submission, only, split, source_size, as_json)
        return
    from foveal.pipeline.export.export import export as write_files
    from foveal.pipeline.export.tree_check import check_tree
    from foveal.pipeline.export.webdataset import export_webdataset

    if flat and len(what) > 1:
        raise RecipeError(
            f"--flat puts all arrays under the same names; export {', '.join(what)} one by one, "
            "each into a folder of its own"
        )
    if check:
        checked = check_tree(store, folder, videos=only, split=split)
        if as_json:
            print_json({"store": store, "folder": str(folder), "check": _check_values(checked)})
        else:
            _show_check(checked)
        if checked.problems:
            raise typer.Exit(INCOMPLETE)
        return
    with counting("exporting") as advance:
        options: dict[str, Any] = {"videos": only, "split": split, "advance": advance}
        if webdataset:
            done = [export_webdataset(store, folder, what, clip_frames=clip_frames, **options)]
        else:
            options |= {"flat": flat if len(what) == 1 else False, "source_size": source_size}
            done = [write_files(store, folder, name, form, **options) for name in what]
    skipped = {video: why for one in done for video, why in one.skipped.items()}
    files = sum(one.files for one in done)
    tree = check_tree(store, folder, videos=done[0].videos) if done[0].for_evaluation else None
    if as_json:
        values = {"store": store, "folder": str(folder), "files": files, "skipped": skipped}
        print_json(values | ({"check": _check_values(tree)} if tree else {}))
    else:
        for video, why in skipped.items():
            out.print(f"skipped {video}: {why}", markup=False)
        out.print(f"{folder}: {files} files", markup=False)
        if tree:
            _show_check(tree)
    if skipped or (tree and tree.problems):
        raise typer.Exit(INCOMPLETE)


def _check_values(tree: TreeCheck) -> dict[str, Any]:
    return {"videos": tree.videos, "files": tree.files, "problems": tree.problems}


def _show_check(tree: TreeCheck) -> None:
    if tree.problems:
        print_table("not as expected for evaluation", ("where", "what"), tree.problems[:ROWS])
        if len(tree.problems) > ROWS:
            out.print(f"… {len(tree.problems)} in all; --json lists them")
    verdict = f"{len(tree.problems)} problems" if tree.problems else "a whole tree for evaluation"
    out.print(
        f"{tree.folder}: {tree.videos} videos, {tree.files} files compared: {verdict}", markup=False
    )
