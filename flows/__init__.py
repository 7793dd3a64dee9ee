"""Orchestration: thin Prefect shells around `foveal.pipeline`. Only this package imports Prefect.

Importing it sets what must stand in the environment before Prefect and torch are loaded, unless it
says otherwise itself: telemetry is off, the embedded server's log is kept out of the way, and
OpenMP threads sleep while they wait. Threads that spin steal the cores of the decoder and of the
videos beside: a network on as many threads as there are busy cores took thirty times as long.
"""

import os

from foveal.flows.prefect_forks import forget_prefect_exits

for _name, _value in {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "OMP_WAIT_POLICY": "PASSIVE",
}.items():
    os.environ.setdefault(_name, _value)
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=forget_prefect_exits)
