"""This module plots a video's arrays in matplotlib: upright, and several at once.

It is imported when a video is opened; matplotlib is imported when something is drawn.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.core.extensions import AccessorRegistrationWarning
from xarray.plot.accessor import DataArrayPlotAccessor

from foveal.errors import StoreError
from foveal.extras import needing
from foveal.storage.kinds import said_by_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ON_PIXELS = {"picture": (-3, -2), "flow": (-3, -2), "map": (-2, -1)}
"""Axes y and x of an array, counted from the end, by its kind."""

_MOST_ITEMS = 400
"""Largest number of items that a timeline reads of an array, evenly spread over the video."""

_ARROWS = 24
"""Arrows of flow along the longer side."""


def pixel_centres(pixels: int, source_px: int) -> NDArray[np.float64]:
    """Return the centres of a grid's pixels, in pixels of the source, counted from 0.

    Examples
    --------
    >>> pixel_centres(2, 4)
    array([0.5, 2.5])
    """
    numbers = np.arange(pixels, dtype=np.float64)
    centres: NDArray[np.float64] = (numbers + 0.5) * (source_px / pixels) - 0.5
    return centres


def with_pixel_centres(dataset: xr.Dataset) -> xr.Dataset:
    """Add y and x coordinates to pictures, maps and flow.

    They are in pixels of the source, as fixations are: whole numbers are pixel centres, y counts
    downwards. Arrays on different grids therefore overlay each other.
    """
    source = dataset.attrs.get("source_size")
    coordinates: dict[str, Any] = {}
    for name, array in dataset.data_vars.items():
        places = ON_PIXELS.get(_said(name, array, "kind"))
        if places is None or source is None or array.ndim < 1 - places[0]:
            continue
        for place, source_px, axis in zip(places, source, "yx", strict=True):
            dim = array.dims[place]
            if dim not in dataset.coords:
                about = {
                    "long_name": f"{axis}, {'downwards' if axis == 'y' else 'to the right'}",
                    "description": "centres of the pixels, in pixels of the source",
                    "units": "px",
                    "axis": axis.upper(),
                }
                if axis == "y":
                    about["positive"] = "down"
                centres = pixel_centres(array.sizes[dim], source_px)
                coordinates[str(dim)] = (dim, centres, about)
    return dataset.assign_coords(coordinates)


class UprightPlots(DataArrayPlotAccessor):
    """xarray's plots, with the y axis downwards where the array's y coordinate counts downwards.

    Other arrays are drawn as xarray does it, and an explicit ``yincrease`` wins.
    """

    __slots__ = ()

    def __call__(self, **options: Any) -> Any:  # type: ignore[override]
        return super().__call__(**self._upright(options, only_pictures=True))

    def imshow(self, *args: Any, **options: Any) -> Any:
        return super().imshow(*args, **self._upright(options))

    def pcolormesh(self, *args: Any, **options: Any) -> Any:
        return super().pcolormesh(*args, **self._upright(options))

    def contour(self, *args: Any, **options: Any) -> Any:
        return super().contour(*args, **self._upright(options))

    def contourf(self, *args: Any, **options: Any) -> Any:
        return super().contourf(*args, **self._upright(options))

    def _upright(self, options: dict[str, Any], *, only_pictures: bool = False) -> dict[str, Any]:
        facets = {options.get("row"), options.get("col"), options.get("hue")}
        dims = [dim for dim, size in self._da.sizes.items() if size > 1 and dim not in facets]
        if only_pictures and len(dims) != 2:
            return options  # a line or a histogram
        down = [dim for dim in dims if _counts(self._da, dim) == ("Y", "down")]
        across = [dim for dim in dims if _counts(self._da, dim)[0] == "X"]
        if len(down) != 1 or "origin" in options:
            return options
        x, y = options.get("x"), options.get("y")
        if y is None and x is None:
            vertical = bool(across) and dims.index(down[0]) < dims.index(across[0])
        else:
            vertical = y == down[0] or (y is None and x in across)
        return {"yincrease": False, **options} if vertical else options


class Video:
    """The accessor ``video.foveal`` of a video's Dataset (``store["002"]``), which draws it.

    Parameters
    ----------
    dataset : xarray.Dataset
        One video of a store.
    """

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    def plot(self, frame: int) -> Figure:
        """Draw the pictures, maps and flow of one frame side by side.

        The picture has its fixated points, each map is drawn over the dimmed picture, and the
        motion to the next frame is drawn as arrows.

        Parameters
        ----------
        frame : int
            Number of the frame, from 0; negative numbers count from the end.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        StoreError
            The video has no such frame, or no pictures, maps, flow or fixations.

        Examples
        --------
        >>> store["002"].foveal.plot(130)  # doctest: +SKIP
        """
        frame = self._frame(frame)
        pictures, maps, flows = (self._names(kind, frame) for kind in ("picture", "map", "flow"))
        points = self._points(frame)
        titles = [*(pictures or (["fixations"] if points else [])), *maps, *flows]
        if not titles:
            raise StoreError("this video has no pictures, maps, flow or fixations to plot")
        figure, axes = _figure(1, len(titles), (3.6 * len(titles), 3.0))
        height_px, width_px = self._source_size()
        picture = self._item(pictures[0], frame) if pictures else None
        for axis, title in zip(axes, titles, strict=True):
            axis.set(xlim=(-0.5, width_px - 0.5), ylim=(height_px - 0.5, -0.5), aspect="equal")
            axis.set(xticks=[], yticks=[], title=title)
            if picture is not None:
                self._show(axis, picture if title in pictures else picture // 3)
            if title in maps:
                self._heat(axis, self._item(title, frame), over=picture is not None)
            elif title in flows:
                self._arrows(axis, title, frame)
            elif points:
                axis.scatter(
                    points[0],
                    points[1],
                    s=14,
                    c=points[2],
                    cmap="turbo",
                    edgecolors="white",
                    lw=0.5,
                )
        seconds = float(self._dataset["time"][frame])
        name = self._dataset.attrs.get("video", "")
        figure.suptitle(f"{name} · frame {frame}, {seconds:.2f} s".lstrip(" ·"))
        return figure

    def plot_timeline(self) -> Figure:
        """Draw what the video has over time: points per frame, speed, means of maps, scores.

        At most 400 items of each array are read, evenly spread over the video.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        StoreError
            The video has nothing along time.
        """
        rows = [*self._timelines()]
        if not rows:
            raise StoreError("this video has nothing along time to plot")
        figure, axes = _figure(len(rows), 1, (9, 0.6 + 1.3 * len(rows)), sharex=True)
        for number, (axis, (label, seconds, values)) in enumerate(zip(axes, rows, strict=True)):
            axis.plot(seconds, values, color=f"C{number}", lw=1)
            axis.set_title(label, loc="left", fontsize="small")
            axis.margins(x=0)
        axes[-1].set_xlabel("time [s]")
        figure.suptitle(str(self._dataset.attrs.get("video", "")))
        return figure

    def _frame(self, frame: int) -> int:
        frames = self._dataset.sizes.get("time", 0)
        found = frame + frames if frame < 0 else frame
        if not 0 <= found < frames:
            raise StoreError(f"there is no frame {frame}; the video has {frames}: 0 … {frames - 1}")
        return found

    def _source_size(self) -> tuple[int, int]:
        height_px, width_px = self._dataset.attrs["source_size"]
        return int(height_px), int(width_px)

    def _names(self, kind: str, frame: int) -> list[str]:
        """Return the arrays of a kind that have an item for this frame."""
        return [
            str(name)
            for name, array in self._dataset.data_vars.items()
            if _said(name, array, "kind") == kind
            and _said(name, array, "axis") in ("frame", "pair")
            and frame < array.shape[0]
        ]

    def _item(self, name: str, number: int) -> NDArray[Any]:
        return np.asarray(self._dataset[name][number].values)

    def _points(self, frame: int) -> list[NDArray[Any]]:
        """Return x, y and observer of a frame's points; empty where the video has no points."""
        names = [f"fixation_{each}" for each in ("offset", "x", "y", "subject")]
        if any(name not in self._dataset for name in names):
            return []
        first, last = self._dataset[names[0]][frame : frame + 2].values
        return [self._dataset[name][first:last].values for name in names[1:]]

    def _show(self, axis: Axes, picture: NDArray[Any]) -> None:
        height_px, width_px = self._source_size()
        axis.imshow(picture, extent=(-0.5, width_px - 0.5, height_px - 0.5, -0.5))

    def _heat(self, axis: Axes, values: NDArray[Any], *, over: bool) -> None:
        height_px, width_px = self._source_size()
        level = values.astype(np.float32)
        level = level / max(float(np.nanmax(level)), 1e-12)
        opacity = np.nan_to_num(0.9 * np.clip(level, 0, 1) ** 0.5) if over else None
        extent = (-0.5, width_px - 0.5, height_px - 0.5, -0.5)
        axis.imshow(level, extent=extent, cmap="inferno", vmin=0, vmax=1, alpha=opacity)

    def _arrows(self, axis: Axes, name: str, frame: int) -> None:
        """Draw vectors at the grid's pixels, scaled to pixels of the source."""
        flow = self._item(name, frame).astype(np.float32)
        height, width = flow.shape[:2]
        height_px, width_px = self._source_size()
        step = max(1, round(max(height, width) / _ARROWS))
        rows, columns = slice(step // 2, None, step), slice(step // 2, None, step)
        axis.quiver(
            pixel_centres(width, width_px)[columns],
            pixel_centres(height, height_px)[rows],
            flow[rows, columns, 0] * (width_px / width),
            flow[rows, columns, 1] * (height_px / height),
            angles="xy",
            color="yellow",
            width=0.004,
        )

    def _timelines(self) -> list[tuple[str, NDArray[Any], NDArray[Any]]]:
        """Return label, seconds and values of each row."""
        found = []
        times = np.asarray(self._dataset["time"].values)
        for key, array in self._dataset.data_vars.items():
            name, kind, axis = str(key), _said(key, array, "kind"), _said(key, array, "axis")
            if axis == "frame_plus_1":
                label = f"{name.removesuffix('_offset')}s per frame"
                found.append((label, times, np.diff(array.values)))
            elif axis in ("frame", "pair") and len(array) and kind in ("map", "flow", "scalar"):
                items = np.unique(np.linspace(0, len(array) - 1, _MOST_ITEMS).astype(int))
                values = array[items].values.astype(np.float32)
                if kind == "flow":
                    values, label = np.linalg.norm(values, axis=-1), f"{name}: mean speed [px]"
                else:
                    label = name if kind == "scalar" else f"{name}: mean"
                found.append((label, times[items], values.reshape(len(items), -1).mean(axis=1)))
        return found


def _figure(
    rows: int, columns: int, size: tuple[float, float], **options: Any
) -> tuple[Figure, list[Axes]]:
    with needing("view"):
        import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        rows, columns, figsize=size, squeeze=False, layout="constrained", **options
    )
    return figure, list(axes.flat)


def _said(name: object, array: xr.DataArray, word: str) -> str:
    """Return what an array says of itself; in stores of the first edition, what its name says."""
    return str(array.attrs.get(word) or said_by_name(str(name)).get(word, ""))


def _counts(array: xr.DataArray, dim: object) -> tuple[str, str]:
    """Return the axis that a dimension counts along, and "down" where it counts downwards."""
    about = array.coords[dim].attrs if dim in array.coords else {}
    return str(about.get("axis", "")), str(about.get("positive", ""))


def register() -> None:
    """Register ``dataset.foveal`` and the upright plots with xarray.

    xarray draws y upwards unless each call says otherwise, and no attribute changes that. The
    accessor registered here differs only for arrays whose y coordinate has ``positive: down``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccessorRegistrationWarning)
        extend: Any = xr.register_dataarray_accessor
        extend("plot")(UprightPlots)
        extend = xr.register_dataset_accessor
        extend("foveal")(Video)


register()
