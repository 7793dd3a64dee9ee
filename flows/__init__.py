"""Orchestration: thin Prefect shells around `foveal.pipeline`. Only this package imports Prefect.

Telemetry is off, and the embedded server's own log is kept out of the way, unless the environment
says otherwise.
"""

import os

for _name, _value in {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
}.items():
    os.environ.setdefault(_name, _value)
