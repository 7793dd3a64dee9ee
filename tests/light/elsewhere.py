"""Make this interpreter see what a light install sees, on Linux, macOS or Windows.

Packages of the extras cannot be found. Modules and functions that the other system lacks are gone.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

EXTRAS = """
    IPython anyio av cv2 distributed fastapi ffmpeg gcsfs h5py huggingface_hub imageio_ffmpeg
    jinja2 llvmlite markupsafe matplotlib numba PIL pooch prefect prefect_dask ptlflow pyarrow
    rerun s3fs safetensors scipy starlette threadpoolctl timm torch torchvision transformers
    triton uvicorn
"""
"""Top-level modules that the extras bring."""

NOT_IN_WINDOWS = """
    fcntl grp nis ossaudiodev pty pwd readline resource spwd syslog termios tty
"""
"""Modules of Python that Windows lacks."""

_OS = {
    "linux": "",
    "macos": (
        "O_DIRECT eventfd fdatasync getrandom memfd_create posix_fadvise posix_fallocate preadv "
        "pwritev sched_getaffinity sched_setaffinity"
    ),
    "windows": (
        "O_CLOEXEC O_DIRECT O_DIRECTORY O_NOFOLLOW O_NONBLOCK O_SYNC chown chroot eventfd fchmod "
        "fchown fdatasync fork forkpty getegid geteuid getgid getgroups getloadavg getpgid "
        "getpriority getrandom getuid killpg lchown memfd_create mkfifo mknod nice posix_fadvise "
        "posix_fallocate posix_spawn pread preadv pwrite pwritev readv register_at_fork "
        "sched_getaffinity sched_setaffinity setpgid setsid statvfs sysconf wait wait3 wait4 "
        "writev"
    ),
}
# numpy calls `os.uname` where `sys.platform` says linux: it stays.
_SIGNAL = {
    "linux": "",
    "macos": "sigtimedwait",
    "windows": (
        "SIGALRM SIGHUP SIGKILL SIGPIPE SIGSTOP SIGUSR1 SIGUSR2 alarm pthread_kill pthread_sigmask "
        "setitimer sigtimedwait sigwait"
    ),
}


class _Hidden(MetaPathFinder):
    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] in self._names:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None


def be(system: str) -> None:
    """Hide what a light install on a system lacks; called before foveal is imported."""
    hidden = [*EXTRAS.split(), *(NOT_IN_WINDOWS.split() if system == "windows" else ())]
    for name in hidden:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, _Hidden(hidden))
    for module, names in ((os, _OS[system]), (signal, _SIGNAL[system])):
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)
