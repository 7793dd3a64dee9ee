"""The flow behind the deployment ``build-features``: flow and I3D features of a store alone."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State, StateType
from prefect.runtime import flow_run
from pydantic import Field

from foveal.errors import FovealError, RecipeError
from foveal.flows.build import MAX_WORKERS, build_store
from foveal.pipeline.build.run import VideoResult
from foveal.storage.reader import open_store


def _run_name() -> str:
    given = flow_run.parameters
    wanted = [key for key in ("flow", "i3d") if given.get(key)]
    return f"{', '.join(wanted) or 'nothing'} of {given['store']}"


@flow(name="build-features", flow_run_name=_run_name, persist_result=False)
def build_features(
    store: str,
    flow: list[dict[str, Any]] | None = None,
    i3d: dict[str, Any] | None = None,
    root: str | None = None,
    only: list[str] | None = None,
    workers: Annotated[int, Field(ge=1, le=MAX_WORKERS)] | None = None,
    cluster: str | None = None,
) -> State[list[VideoResult]]:
    """Compute optical flow and I3D features of a store that is there, by its own recipe.

    What else the store holds is left as it is. Methods of flow that the store's recipe names
    already stay; one that is given again is changed.

    Args:
        store: The store, path or URL.
        flow: Sections of the recipe's ``flow``: ``[{"method": "pwcnet", "size": [480, 640]}]``.
        i3d: The recipe's section ``i3d``.
        root: Folder of the raw dataset, if it has moved.
        only: Ids of the wanted videos.
        workers: Videos at a time, see ``build-store``.
        cluster: Dask cluster, see ``build-store``.

    Returns:
        The state of the build, see ``build-store``.
    """
    try:
        if not flow and not i3d:
            raise RecipeError("nothing to compute: give flow, i3d or both")
        recipe = open_store(store).recipe
    except FovealError as error:
        return State(type=StateType.FAILED, name="Refused", message=str(error), data=error)
    given = {section.get("method", "tvl1"): section for section in flow or ()}
    former = [one for one in recipe.get("flow") or () if one["method"] not in given]
    recipe = {**recipe, "store": store, "flow": [*former, *given.values()]}
    if i3d is not None:
        recipe["i3d"] = i3d
    if root is not None:
        recipe["dataset"] = {**recipe["dataset"], "root": root}
    ended: Any = build_store(recipe, only=only, workers=workers, cluster=cluster, return_state=True)
    state: State[list[VideoResult]] = ended
    return state
