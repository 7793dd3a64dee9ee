"""Fingerprints, ids as names, marks and quarantine records as they lie in the store."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zarr.storage import MemoryStore

from foveal.errors import StoreError
from foveal.storage.location import Location
from foveal.storage.marks import (
    Mark,
    Quarantine,
    fingerprint,
    group_name,
    journal_key,
    read_journal,
    read_journal_with_damage,
    read_marks,
    write_mark,
    write_quarantine,
)


def mark(video: str, stage: str, **identity: Any) -> Mark:
    arrays = {stage: {"dims": ["time"], "shape": [3], "dtype": "uint8", "sha256": {"c/0": "ab"}}}
    return Mark(video, stage, fingerprint(identity), identity, arrays, {"stored_bytes": 12})


def test_a_fingerprint_is_the_sha256_of_canonical_json() -> None:
    text = '{"a":[1,2.5,null],"b":{"σ":true}}'
    identity = {"b": {"σ": True}, "a": [1, 2.5, None]}
    assert fingerprint(identity) == hashlib.sha256(text.encode()).hexdigest()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_a_fingerprint_survives_the_way_to_disk_and_the_order_of_keys(
    identity: dict[str, Any],
) -> None:
    stored = json.loads(json.dumps(identity))
    backwards = dict(reversed(list(stored.items())))
    assert fingerprint(identity) == fingerprint(stored) == fingerprint(backwards)


@given(st.text(min_size=1))
def test_names_of_ids_are_safe_and_give_the_id_back(video: str) -> None:
    name = group_name(video)
    assert unquote(name) == video
    assert not set('/\\:*?"<>|[]{}') & set(name)
    assert not name.startswith("__")
    assert name not in ("", ".", "..", "zarr.json", "lock")


@given(st.lists(st.text(st.sampled_from("ab_./%[2F5"), min_size=1), min_size=2, unique=True))
def test_different_ids_have_different_names(videos: list[str]) -> None:
    assert len({group_name(video) for video in videos}) == len(videos)


def test_plain_ids_are_their_own_names_and_empty_ones_are_refused() -> None:
    for video in ("002", "actioncliptest00001_1", "Diving-Side-001", "a_b c.d", "_x", "..."):
        assert group_name(video) == video
    with pytest.raises(StoreError, match="without a name"):
        group_name("")


def test_marks_and_records_are_read_back() -> None:
    location = Location(MemoryStore())
    marks = [mark("a/1", "time", x=1), mark("a/1", "frames", x=2), mark("b", "time", x=1)]
    for one in marks:
        write_mark(location, one)
    bad = Quarantine("c", "DecodeError", "cut short", {"time": "12"})
    write_quarantine(location, bad)
    found, quarantined = read_journal(location)
    assert found == {
        "a/1": {"time": marks[0], "frames": marks[1]},
        "b": {"time": marks[2]},
    }
    assert quarantined == {"c": bad}
    assert read_journal(location, ["b", "c", "never seen"]) == (
        {"b": {"time": marks[2]}},
        {"c": bad},
    )
    assert read_marks(location, "a/1") == found["a/1"]
    assert marks[0].stored_bytes == 12


def test_an_empty_store_has_no_journal() -> None:
    assert read_journal(Location(MemoryStore())) == ({}, {})


def test_a_thousand_videos_are_read_at_once() -> None:
    location = Location(MemoryStore())
    for k in range(1000):
        write_mark(location, mark(f"{k:04d}", "time", k=k))
    found, _ = read_journal(location)
    assert sorted(found) == [f"{k:04d}" for k in range(1000)]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"video": "a"}', b'"text"', b"\xff"])
@pytest.mark.parametrize("name", ["frames", "quarantine"])
def test_a_damaged_record_is_named_with_its_remedy(name: str, content: bytes) -> None:
    location = Location(MemoryStore())
    write_mark(location, mark("a", "time"))
    location.write(journal_key("a", name), content)
    journal = read_journal_with_damage(location)
    assert list(journal.marks["a"]) == ["time"]
    assert journal.quarantined == {}
    (damage,) = journal.damaged
    assert (damage.video, damage.stage, damage.key) == ("a", name, f"_foveal/a/{name}.json")
    assert re.search(rf"_foveal/a/{name}\.json is damaged .*; build again: ", damage.reason)
    assert read_journal(location) == (journal.marks, {})
