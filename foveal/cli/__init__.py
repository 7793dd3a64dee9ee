"""The ``foveal`` command. Each subcommand imports what it needs, so that ``--help`` is instant.

Exit status: 0 all well; 1 nothing could be done (the message says why); 2 wrong usage; 3 done, but
some videos are quarantined or failed, or a check found problems.
"""

from __future__ import annotations

import sys
import warnings
from typing import Annotated, Any

import typer

import foveal
import foveal.flows  # sets the environment, before any command imports torch
from foveal.cli.build import build
from foveal.cli.compare import compare
from foveal.cli.dataset import check, init
from foveal.cli.demo import demo
from foveal.cli.ensemble import baseline, predict_ensemble
from foveal.cli.evaluate import evaluate
from foveal.cli.experiment import experiment
from foveal.cli.import_maps import import_maps
from foveal.cli.inspect import inspect
from foveal.cli.look import export, preview, report, statistics
from foveal.cli.mask import mask
from foveal.cli.plugins import plugins
from foveal.cli.predict import predict
from foveal.cli.runtime import runtime
from foveal.cli.share import pull, push
from foveal.cli.status import status
from foveal.cli.tidy import clean, diff
from foveal.cli.train import train
from foveal.cli.verify import verify
from foveal.cli.view import view
from foveal.cli.weights import weights
from foveal.errors import FovealError, unreachable
from foveal.extras import missing_package

app = typer.Typer(
    name="foveal",
    help="Raw eye-tracking video datasets in, one aligned and chunked Zarr store out.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def _foveal(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and end.")] = False,
) -> None:
    if version:
        print(f"foveal {foveal.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


for command in (
    demo,
    init,
    check,
    build,
    status,
    inspect,
    verify,
    clean,
    diff,
    view,
    preview,
    report,
    statistics,
    export,
    mask,
    train,
    predict,
    predict_ensemble,
    baseline,
    import_maps,
    evaluate,
    compare,
    runtime,
    push,
    pull,
    plugins,
):
    app.command()(command)
app.add_typer(weights, name="weights")
app.add_typer(experiment, name="experiment")


_EXTRAS = {
    **dict.fromkeys(("build", "check", "demo", "init"), "build"),
    **dict.fromkeys(("baseline", "experiment", "import-maps", "mask", "predict"), "train"),
    **dict.fromkeys(("evaluate", "predict-ensemble", "runtime", "train", "weights"), "train"),
    **dict.fromkeys(("compare", "export", "preview", "report", "statistics", "view"), "view"),
    **dict.fromkeys(("pull", "push"), "share"),
}
"""The extra that each command belongs to; reading commands need none."""


def main() -> None:
    """Entry point of the command line."""
    usual = warnings.formatwarning

    def as_a_line(message: Any, category: type[Warning], *where: Any, **more: Any) -> str:
        # Told to people, who have no use for the file and line that it comes from.
        for_people = issubclass(category, UserWarning)
        return f"foveal: {message}\n" if for_people else usual(message, category, *where, **more)

    warnings.formatwarning = as_a_line
    try:
        app()
    except FovealError as error:
        print(f"foveal: {error}", file=sys.stderr)
        sys.exit(1)
    except ModuleNotFoundError as error:
        missing = missing_package(error, _EXTRAS.get(next(iter(sys.argv[1:]), "")))
        if missing is None:
            raise
        print(f"foveal: {missing}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        print(f"foveal: {unreachable(error)}", file=sys.stderr)
        sys.exit(1)


__all__ = ["app", "main"]
