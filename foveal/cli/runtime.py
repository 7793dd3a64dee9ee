"""This module holds ``foveal runtime``, which measures what networks cost on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.console import Json, err, out, print_json, print_table

if TYPE_CHECKING:
    from foveal.pipeline.learn.runtime import Runtime

_HEADS = (
    "network", "device", "parameters", "network s", "flow", "flow s", "features", "features s",
    "in all s", "frames/s", "published",
)  # fmt: skip


def runtime(
    networks: Annotated[
        list[str] | None, typer.Argument(help="Networks of `foveal plugins`; default all.")
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(help="cpu, cuda or cuda:N. Repeatable; default the CPU, and a GPU if any."),
    ] = None,
    flow: Annotated[
        str | None, typer.Option(help="Flow method instead of the papers' own.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Runs, of which the median counts.")] = 3,
    windows: Annotated[int, typer.Option(min=1, help="I3D windows that are timed.")] = 8,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of torch; default as torch chooses.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="Option of all these networks: width=0.25. Repeatable."),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    as_json: Json = False,
) -> None:
    """Measure networks: parameters, and seconds per frame of the network, its flow and features.

    At the papers' sizes, with random weights. The I3D features and the flow of a network are timed
    once and counted with each network that reads them.
    """
    from foveal.models import saliency
    from foveal.pipeline.learn.runtime import Stopwatch, devices
    from foveal.pipeline.learn.runtime import threads as running_on
    from foveal.pipeline.recipe.yaml_files import override

    options: dict[str, Any] = {}
    for change in overrides or ():
        override(options, change)
    chosen = networks or list(saliency.names())
    for name in chosen:
        saliency.options(name)
    rows: list[Runtime] = []
    with running_on(threads) as count:
        for place in devices(device or ()):
            watch = Stopwatch(
                place,
                rounds=rounds,
                windows=windows,
                flow=flow,
                tell=lambda what: err.print(f"timing {what}", markup=False),
            )
            rows += [watch.measure(name, **options) for name in chosen]
    if as_json:
        print_json({"threads": count, "rows": [_values(row) for row in rows]})
        return
    cells = [_cells(row) for row in rows]
    if markdown:
        out.print(f"| {' | '.join(_HEADS)} |", markup=False)
        out.print("|" + "---|" * 2 + "---:|" * 2 + "---|---:|---|" + "---:|" * 3 + "---|")
        for row in cells:
            out.print(f"| {' | '.join(row)} |", markup=False)
        return
    numbers = "parameters network\u00a0s flow\u00a0s features\u00a0s in\u00a0all\u00a0s frames/s"
    heads = [head.replace(" ", "\u00a0") for head in _HEADS]
    print_table(f"seconds per frame, {count} CPU threads", heads, cells, numbers)


def _values(row: Runtime) -> dict[str, Any]:
    published = None if row.published is None else vars(row.published)
    return {**vars(row), "published": published, "all_seconds": row.all_seconds}


def _cells(row: Runtime) -> tuple[str, ...]:
    published = ""
    if row.published is not None:
        count = row.published.parameters
        size = f"{count / 1e6:.1f} M, " if count else ""
        published = f"{size}{row.published.seconds_per_frame:.3f} s ({row.published.about})"
    return (
        row.network,
        row.device,
        f"{row.parameters:,}",
        _seconds(row.network_seconds),
        row.flow,
        _seconds(row.flow_seconds),
        row.features,
        _seconds(row.features_seconds),
        _seconds(row.all_seconds),
        f"{1 / row.all_seconds:.3g}",
        published,
    )


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
