"""Where figures were measured: processor, memory, GPU, versions and commit."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGES = (
    "foveal",
    "numpy",
    "torch",
    "zarr",
    "numba",
    "opencv-contrib-python",
    "prefect",
    "torchcodec",
    "litdata",
    "webdataset",
)


def machine() -> dict[str, Any]:
    """What a reader must know of the machine to judge figures, without its name."""
    release = ".".join(platform.release().split(".")[:2])
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpu": gpu_names(),
        "system": f"{platform.system()} {release}",
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def cpu_model() -> str:
    """The processor's name as Linux has it."""
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found.group(1) if found else platform.machine()


def gpu_names() -> list[str]:
    """Names of NVIDIA's GPUs; none where their program is missing."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    return _lines(command)


def versions() -> dict[str, str]:
    """Of Python and of the packages that figures depend on, those that are installed."""
    found = {"python": sys.version.split()[0]}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit(root: Path) -> str:
    """The commit that is checked out, and whether files differ from it."""
    git = ["git", "-C", str(root)]
    head = _lines([*git, "rev-parse", "--short=12", "HEAD"])
    if not head:
        return "unknown"
    changed = _lines([*git, "status", "--porcelain", "--untracked-files=no"])
    return head[0] + (" with changes" if changed else "")


def _lines(command: list[str]) -> list[str]:
    """What a command prints; nothing where it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return [line for line in done.stdout.splitlines() if line.strip()]
