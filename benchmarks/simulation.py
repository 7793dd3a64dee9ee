"""50,000 videos on 64 workers, simulated: what becomes the limit, and what S3 charges.

Measured first, on this machine: the requests that a build, a build with nothing to do, and an epoch
of clips send to an S3 server (moto, in this process); the processor time that Prefect takes for a
task, in the flow's process and in its server; that of planning and of the index, for each video.

Then time is simulated: workers take tasks, a task's videos wait for their requests and for nothing
else (stages that take no time, or so many seconds), and what there is only one of (Prefect's
server, the flow's process) serves one at a time.

    python benchmarks/simulation.py [--videos 50000] [--workers 64] [--json]
"""

from __future__ import annotations

import argparse
import heapq
import logging
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from _figures import Row, higher, print_json, row
from scale import recipe, write_clips

CLIPS, TASKS = 16, 40
LATENCY_SECONDS = 0.02
"""Of a request to an object store, the first byte."""

DOLLARS = {"put": 0.005 / 1000, "get": 0.0004 / 1000}
"""S3 standard, us-east-1: PUT, COPY, POST and LIST; GET and all others. Removals are free."""

PRICED = {
    "put_object": "put",
    "list_objects_v2": "put",
    "copy_object": "put",
    "get_object": "get",
    "head_object": "get",
    "head_bucket": "get",
    "delete_object": "free",
    "delete_objects": "free",
}
PUTS_A_SECOND, GETS_A_SECOND = 3500, 5500
"""What S3 serves of one prefix before it divides it."""


@dataclass(frozen=True)
class Costs:
    """Seconds that things take which there is only one of, and requests that are waited for.

    Attributes
    ----------
    flow_task, server_task : float
        For a task: in the flow's process, in Prefect's server.
    plan_video, index_video : float
        For a video, before the first task and after the last one: in the flow's process.
    run_video : float
        For a video, in a worker's process: foveal's own work.
    round_trips : int
        Requests for a video that follow each other.
    """

    flow_task: float
    server_task: float
    plan_video: float
    index_video: float
    run_video: float
    round_trips: int


@contextmanager
def counted_requests() -> Iterator[Counter[str]]:
    """An S3 server of one's own, and the requests that s3fs sends to it, by their kind."""
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "benchmark",
        "AWS_SECRET_ACCESS_KEY": "benchmark",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    s3fs.S3FileSystem().mkdir("scale")
    counts: Counter[str] = Counter()
    call = s3fs.S3FileSystem._call_s3

    async def counting(self: Any, method: str, *arguments: Any, **options: Any) -> Any:
        counts[method] += 1
        return await call(self, method, *arguments, **options)

    s3fs.S3FileSystem._call_s3 = counting
    try:
        yield counts
    finally:
        s3fs.S3FileSystem._call_s3 = call
        server.stop()


def requests(folder: Path) -> dict[str, dict[str, float]]:
    """Requests for a video, by what is done."""
    from foveal.pipeline.build.build import Build
    from foveal.pipeline.recipe.recipe import Recipe
    from foveal.storage.reader import open_store
    from foveal.torch import ClipLoader, Clips

    found: dict[str, dict[str, float]] = {}
    with counted_requests() as counts:

        def lap(name: str, videos: int) -> None:
            found[name] = {kind: number / videos for kind, number in sorted(counts.items())}
            counts.clear()

        values = recipe(folder).resolved() | {"store": "s3://scale/store.zarr"}
        build = Build.open(Recipe.parse(values))
        with build.at_work() as work:
            lap("beginning", 1)
            plan = work.plan()
            lap("plan", CLIPS)
            work.remember(plan)
            counts.clear()
            results = [work.run(video) for video in build.videos]
            assert all(result.ok for result in results), results
            lap("build", CLIPS)
            work.finalise(results, plan)
            lap("index", CLIPS)
        with build.at_work() as work:
            counts.clear()
            plan = work.plan()
            work.remember(plan)
            work.finalise(plan.settled, plan)
            lap("nothing to do", CLIPS)
        counts.clear()
        clips = Clips(open_store("s3://scale/store.zarr"), frames=16)
        lap("opening", 1)
        loader = ClipLoader(clips, 4)
        assert sum(len(batch["video"]) for batch in loader) == CLIPS
        lap("first epoch, a clip", CLIPS)
        for _ in loader:
            pass
        lap("later epoch, a clip", CLIPS)
    return found


def dollars_a_thousand(of: dict[str, float]) -> float:
    prices = {"free": 0.0, **DOLLARS}
    return 1000 * sum(number * prices[PRICED[kind]] for kind, number in of.items())


def prefect_task_seconds() -> tuple[float, float]:
    """Processor time of a task that does nothing: in this process, in the server."""
    from prefect import flow, task
    from prefect.cache_policies import NO_CACHE

    from foveal.flows.server import prefect_server

    @task(cache_policy=NO_CACHE, persist_result=False)
    def nothing() -> None: ...

    @flow
    def many(tasks: int) -> None:
        for future in [nothing.submit() for _ in range(tasks)]:
            future.wait()

    with prefect_server():
        (server,) = children()
        many(4)
        here, there = time.process_time(), cpu_of(server)
        many(TASKS)
        time.sleep(2)  # events reach the server behind the flow
        return (time.process_time() - here) / TASKS, (cpu_of(server) - there) / TASKS


def children() -> list[int]:
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    return [int(pid) for pid in path.read_text().split()]


def cpu_of(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def video_seconds(folder: Path, round_trips: int) -> Costs:
    """Processor time of planning, of the index, and of a video beside its own work."""
    from scale import bare, cpu_seconds

    from foveal.pipeline.build.build import Build

    with Build.open(recipe(folder)).at_work() as work:
        work.plan(limit=1)
        started = time.process_time()
        plan = work.plan()
        planned = time.process_time()
        names = [item.video.id for item in plan.to_do]
        results = [work.run(name) for name in names[:4]]
        began = cpu_seconds()
        results += [work.run(name) for name in names[4:]]
        ran = cpu_seconds()
        ended = time.process_time()
        work.finalise(results, plan)
        finished = time.process_time()
    own = bare(folder, len(names) - 4)["cpu_ms"] / 1e3
    return Costs(
        *prefect_task_seconds(),
        plan_video=(planned - started) / len(names),
        index_video=(finished - ended) / len(names),
        run_video=max(0.001, (ran - began) / (len(names) - 4) - own),
        round_trips=round_trips,
    )


def in_tasks(videos: int) -> list[int]:
    """Videos of each task, as the flow gives them out."""
    from foveal.flows.videos import batches
    from foveal.pipeline.build.plan import VideoPlan
    from foveal.pipeline.video.types import Video

    names = (Video(str(number), None, Path()) for number in range(videos))
    plans: Any = [VideoPlan(None, None, video) for video in names]  # type: ignore[arg-type]
    return [len(batch) for batch in batches(plans)]


def simulate(costs: Costs, share: list[int], workers: int, video_seconds: float) -> dict[str, Any]:
    """Time of a build, simulated event by event.

    The flow keeps two tasks a worker in flight. A task passes through the flow's process, then the
    server, then a worker; when it ends, through the server and the flow again, half its cost each
    way.
    """
    videos = sum(share)
    busy = Counter[str]()
    free = {"flow": 0.0, "server": 0.0}
    idle = [(0.0, number) for number in range(workers)]
    heapq.heapify(idle)

    def pass_through(what: str, at: float, seconds: float) -> float:
        free[what] = max(free[what], at) + seconds
        busy[what] += seconds
        return free[what]

    each = costs.run_video + costs.round_trips * LATENCY_SECONDS + video_seconds
    planned = videos * costs.plan_video
    ends: list[float] = []
    slots = [planned] * (2 * workers)
    heapq.heapify(slots)
    for count in share:
        at = heapq.heappop(slots)
        at = pass_through("flow", at, costs.flow_task / 2)
        at = pass_through("server", at, costs.server_task / 2)
        since, worker = heapq.heappop(idle)
        done = max(at, since) + count * each
        busy["workers"] += count * each
        heapq.heappush(idle, (done, worker))
        # What is queued behind later events would wait for them: close enough, as all are alike.
        busy["flow"] += costs.flow_task / 2
        busy["server"] += costs.server_task / 2
        heapq.heappush(slots, done)
        ends.append(done)
    built = max([*ends, planned + busy["flow"], planned + busy["server"]])
    seconds = built + videos * costs.index_video
    return {
        "tasks": len(share),
        "seconds": seconds,
        "planning_seconds": planned,
        "index_seconds": videos * costs.index_video,
        "flow_busy": busy["flow"] / (built - planned),
        "server_busy": busy["server"] / (built - planned),
        "workers_busy": busy["workers"] / (built - planned) / workers,
    }


def measure(videos: int, workers: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_clips(folder / "raw", CLIPS)
        asked = requests(folder)
        build = asked["build"]
        costs = video_seconds(folder, round(sum(build.values())))
    shared, alone = in_tasks(videos), [1] * videos
    runs = {
        f"{len(share)} tasks, {seconds:g} s a video": simulate(costs, share, workers, seconds)
        for seconds in (0.0, 1.0, 60.0)
        for share in (shared, alone)
    }
    puts = sum(number for kind, number in build.items() if PRICED[kind] == "put")
    gets = sum(number for kind, number in build.items() if PRICED[kind] == "get")
    return {
        "requests_a_video": asked,
        "dollars_a_thousand_videos": {key: dollars_a_thousand(of) for key, of in asked.items()},
        "costs": asdict(costs),
        "videos_a_second_at_the_limit": {
            "S3, one prefix": min(PUTS_A_SECOND / puts, GETS_A_SECOND / max(gets, 1e-9)),
            "Prefect's server, a task a video": 1 / costs.server_task,
            "the flow's process, a task a video": 1 / costs.flow_task,
            "workers": workers / (costs.run_video + costs.round_trips * LATENCY_SECONDS),
        },
        "simulated": runs,
        "twice_the_workers": simulate(costs, shared, 2 * workers, 0.0),
    }


def rows(found: dict[str, Any]) -> list[Row]:
    """The same for machines: tasks that share videos against a task for each."""
    first, second, *_ = runs = found["simulated"]
    rates = [1 / runs[name]["seconds"] for name in (first, second)]
    requests = sum(found["requests_a_video"]["build"].values())
    dollars = found["dollars_a_thousand_videos"]["build"]
    return [
        higher(
            f"builds by {first}, simulated",
            3600 * rates[0],
            "builds per hour",
            second,
            3600 * rates[1],
        ),
        row("requests to S3 for a video", requests, "requests"),
        row("requests to S3 for a thousand videos", dollars, "dollars"),
        *(
            row(f"limit: {what}", limit, "videos/s")
            for what, limit in found["videos_a_second_at_the_limit"].items()
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=50_000)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    for quiet in ("foveal", "werkzeug"):
        logging.getLogger(quiet).setLevel(logging.ERROR)
    found = measure(arguments.videos, arguments.workers)
    if arguments.json:
        print_json(__file__, rows(found), found)
        return
    for what, of in found["requests_a_video"].items():
        told = ", ".join(f"{number:.3g} {kind}" for kind, number in of.items()) or "none"
        print(f"{what}: {told}: ${found['dollars_a_thousand_videos'][what]:.4f} a thousand")
    print("costs:", ", ".join(f"{key} {value:.4g}" for key, value in found["costs"].items()))
    for what, limit in found["videos_a_second_at_the_limit"].items():
        print(f"limit, {what}: {limit:.0f} videos a second")
    for what, of in found["simulated"].items():
        told = ", ".join(f"{key} {value:.3g}" for key, value in of.items() if key != "tasks")
        print(f"{what}: {told}")


if __name__ == "__main__":
    main()
