"""Every object of a store, damaged in every way, met by everything that reads a store.

What must hold: nothing but a FovealError is raised; no value differs from that of the whole store;
`verify` names the object. The short form damages what belongs to one video and to the store as a
whole; the long one (``make faults``) every object, and flips many bits.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from faults.damages import DAMAGES, LONG, VIDEO, damaged, objects
from foveal.cli import app
from foveal.errors import FovealError
from foveal.storage.location import Location
from foveal.storage.reader import open_store
from foveal.storage.repair import repair_metadata
from foveal.storage.verify import verify
from foveal.torch import Clips

FLIPS = 10 if LONG else 1
SHARE = 8
"""One in so many objects in the short form; which ones differs from one damage to the next."""
SEEN = ["001", VIDEO] if LONG else [VIDEO]
VARIABLES = ("frames", "density", "flow_tvl1")
Read = Callable[[Path], dict[str, Any]]


def table(store: Path) -> dict[str, Any]:
    rows = json.loads(open_store(store).videos.to_json(orient="index"))
    # What is not complete need not be known.
    return {video: row for video, row in rows.items() if row["status"] == "complete"}


def datasets(store: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    opened = open_store(store)
    for video in SEEN:
        dataset = opened[video].load()
        found |= {f"{video}/{name}": values.values for name, values in dataset.variables.items()}
        found[f"{video}/attributes"] = dict(dataset.attrs)
    return found


def clips(store: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of videos that lack something
        read = Clips(store, frames=5, variables=list(VARIABLES), videos=SEEN)
    for number in range(len(read)):
        where = "/".join(map(str, read.where(number)))
        found |= {f"{where}/{key}": value for key, value in read[number].items()}
    return found


def statistics(store: Path) -> dict[str, Any]:
    stored = open_store(store).statistics("train")
    about = {key: value for key, value in stored.attrs.items() if key != "up_to_date"}
    return {**{name: values.values for name, values in stored.items()}, "attributes": about}


def inspected(store: Path) -> dict[str, Any]:
    for arguments in (["inspect", str(store)], ["inspect", str(store), VIDEO]):
        result = CliRunner().invoke(app, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
    return {}


READERS: dict[str, Read] = {
    "open_store": table,
    "store[video]": datasets,
    "Clips": clips,
    "statistics": statistics,
    "inspect": inspected,
}


@pytest.fixture(scope="module")
def expected(whole: Path) -> dict[str, dict[str, Any]]:
    return {name: read(whole) for name, read in READERS.items()}


def same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(found, dict) and json.dumps(found) == json.dumps(wanted)
    if isinstance(wanted, str):
        return bool(found == wanted)
    return bool(np.array_equal(np.asarray(found), np.asarray(wanted), equal_nan=False))


def complaints(
    store: Path, path: Path, how: str, expected: dict[str, dict[str, Any]]
) -> Iterator[str]:
    """Everything that is not as it must be while an object is damaged."""
    key = str(path.relative_to(store))
    for name, read in READERS.items():
        try:
            found = read(store)
        except FovealError as error:
            if "\n" in str(error):
                yield f"{name}: more than a line: {error}"
            continue
        except Exception as error:
            yield f"{name}: {type(error).__name__}: {error}"
            continue
        for what, value in found.items():
            if not same(value, expected[name].get(what)):
                yield f"{name}: {what} differs in silence"
    try:
        named = {problem.key for problem in verify(Location(store, read_only=True))}
    except Exception as error:
        yield f"verify: {type(error).__name__}: {error}"
        return
    if not any(key.startswith(each) or each.startswith(key) for each in named):
        yield f"verify names {sorted(named)[:4]}"


def unnoticed(key: str, how: str) -> bool:
    """What verify need not name: where nothing is told apart from a store that never had it."""
    if key == "_foveal/lock" or key.startswith("_foveal/%store/log/"):  # a diary of builds
        return True
    return how == "missing" and key in ("_foveal/%store/wanted", "evaluation.json")


@pytest.mark.parametrize("how", DAMAGES)
def test_no_damage_of_any_object_is_read_in_silence_or_ends_in_a_traceback(
    whole: Path, expected: dict[str, dict[str, Any]], how: str
) -> None:
    wrong = []
    cases = 0
    for number, path in enumerate(objects(whole)):
        key = str(path.relative_to(whole))
        if not LONG and (number + list(DAMAGES).index(how)) % SHARE:
            continue
        for seed in range(FLIPS if how == "flipped" else 1):
            with damaged(path, how, seed) as changed:
                if not changed:
                    continue
                cases += 1
                for complaint in complaints(whole, path, how, expected):
                    if not (complaint.startswith("verify names") and unnoticed(key, how)):
                        wrong.append(f"{key} {how} ({seed}): {complaint}")
    print(f"{how}: {cases} cases, {len(wrong)} wrong")
    assert wrong == []
    assert verify(Location(whole)) == []


@pytest.mark.parametrize("how", DAMAGES)
def test_metadata_and_index_are_mended_byte_for_byte(whole: Path, tmp_path: Path, how: str) -> None:
    keys = ["zarr.json", "videos/zarr.json", f"videos/{VIDEO}/zarr.json"]
    keys += ["_foveal/%store/root", "_foveal/%store/videos", f"_foveal/{VIDEO}/group"]
    for key in keys:
        copy = tmp_path / "copy.zarr"
        shutil.copytree(whole, copy)
        content = (copy / key).read_bytes()
        DAMAGES[how](copy / key, np.random.default_rng(0))
        assert any(key in line for line in repair_metadata(Location(copy))), key
        assert (copy / key).read_bytes() == content
        assert verify(Location(copy)) == []
        shutil.rmtree(copy)
    copy = tmp_path / "index.zarr"
    shutil.copytree(whole, copy)
    before = open_store(copy).videos
    DAMAGES[how](copy / "index.parquet", np.random.default_rng(0))
    assert any("index.parquet" in line for line in repair_metadata(Location(copy)))
    assert verify(Location(copy)) == []
    assert open_store(copy).videos.equals(before)
