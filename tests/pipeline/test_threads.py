"""The threads of the pipeline: in order, bounded, and stopped when the work ends or fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from foveal.pipeline.stages.threads import Sink, ahead


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not [each.name for each in threading.enumerate() if each.name in ("ahead", "sink")]


class Source:
    """Numbers 0, 1, …; notes how far it was read, whether it was closed, and in which thread."""

    def __init__(self, count: int, fails_at: int | None = None) -> None:
        self.count, self.fails_at = count, fails_at
        self.given = 0
        self.closed_in: threading.Thread | None = None

    def __iter__(self) -> Iterator[int]:
        try:
            for number in range(self.count):
                if number == self.fails_at:
                    raise RuntimeError("the source broke")
                self.given += 1
                yield number
        finally:
            self.closed_in = threading.current_thread()


def wait_until(condition: object) -> None:
    deadline = time.monotonic() + 5
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_all_items_in_order() -> None:
    source = Source(1000)
    assert list(ahead(iter(source), 3)) == list(range(1000))
    assert source.closed_in is not None


def test_nothing_runs_before_the_first_item_is_wanted() -> None:
    source = Source(5)
    items = ahead(iter(source), 2)
    assert source.given == 0
    items.close()
    assert source.given == 0


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_it_runs_ahead_but_never_further_than_asked(depth: int) -> None:
    source = Source(100)
    items = ahead(iter(source), depth)
    assert next(items) == 0
    # One was taken, `depth` wait, and one is in the source's hand.
    wait_until(lambda: source.given == depth + 2)
    time.sleep(0.05)
    assert source.given == depth + 2
    items.close()
    assert source.given == depth + 2


def test_it_overlaps_producing_and_consuming() -> None:
    rendezvous = threading.Barrier(2, timeout=5)

    def produce() -> Iterator[int]:
        yield 0
        rendezvous.wait()  # only a reader that works meanwhile gets past
        yield 1

    items = ahead(produce(), 1)
    assert next(items) == 0
    rendezvous.wait()
    assert list(items) == [1]


def test_an_error_comes_where_its_item_would_have_come() -> None:
    source = Source(10, fails_at=3)
    items = ahead(iter(source), 2)
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(RuntimeError, match="the source broke"):
        next(items)
    assert source.closed_in is not None


def test_stopping_early_closes_the_source_in_its_own_thread() -> None:
    source = Source(1_000_000)
    for item in (items := ahead(iter(source), 2)):
        if item == 5:
            break
    items.close()
    assert source.given < 20
    assert source.closed_in is not None
    assert source.closed_in is not threading.current_thread()


def test_an_iterator_without_close_will_do() -> None:
    assert list(ahead(iter([1, 2, 3]), 1)) == [1, 2, 3]


def test_jobs_run_in_order_in_one_other_thread() -> None:
    done: list[tuple[int, threading.Thread]] = []
    with Sink(2) as sink:
        for number in range(100):
            sink.submit(lambda number=number: done.append((number, threading.current_thread())))
    assert [number for number, _ in done] == list(range(100))
    assert len({thread for _, thread in done}) == 1
    assert done[0][1] is not threading.current_thread()


def test_submitting_blocks_while_too_many_wait() -> None:
    gate, submitted = threading.Event(), []

    def fill(sink: Sink) -> None:
        for number in range(10):
            sink.submit(gate.wait)
            submitted.append(number)

    with Sink(3) as sink:
        filler = threading.Thread(target=fill, args=(sink,))
        filler.start()
        wait_until(lambda: len(submitted) == 4)  # one at work, three waiting
        time.sleep(0.05)
        assert len(submitted) == 4
        gate.set()
        filler.join()


def test_the_first_error_stops_the_jobs_and_reaches_the_caller() -> None:
    done: list[int] = []

    def fail() -> None:
        raise OSError("the disk is full")

    def work() -> None:
        with Sink(8) as sink:
            sink.submit(lambda: done.append(1))
            sink.submit(fail)
            for _ in range(50):
                sink.submit(lambda: done.append(2))
                time.sleep(0.002)
            done.append(3)

    with pytest.raises(OSError, match="the disk is full"):
        work()
    assert done == [1]


def test_an_error_of_the_last_job_is_raised_at_the_end() -> None:
    def fail() -> None:
        raise ValueError("late")

    with pytest.raises(ValueError, match="late"), Sink(2) as sink:
        sink.submit(fail)


def test_a_failing_block_drops_what_waits_and_keeps_its_own_error() -> None:
    gate, done = threading.Event(), []

    def work() -> None:
        with Sink(8) as sink:
            sink.submit(gate.wait)
            for number in range(5):
                sink.submit(lambda number=number: done.append(number))
            threading.Timer(0.05, gate.set).start()
            raise KeyError("decoder")

    with pytest.raises(KeyError, match="decoder"):
        work()
    assert done == []
