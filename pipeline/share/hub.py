"""Push folders to the Hugging Face Hub, and pull them: only files that differ are transferred.

All files are compared by digest afterwards. An interrupted transfer continues where it was, because
files with the right digest are not sent again. ``HF_ENDPOINT`` names another hub; ``HF_TOKEN`` or
``hf auth login`` give the account.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any

from foveal.errors import ChecksumError, FovealError, MissingDependency, Unreachable
from foveal.machine import file_sha256
from foveal.pipeline.share.address import Address

_CARD = "README.md"

_OF_THE_HUB = (_CARD, ".gitattributes")
"""Files of a repository that belong to the hub, not to the folder."""

_BATCH_FILES, _BATCH_BYTES = 200, 2 << 30
"""Largest commit; an interruption can lose as much."""

_AT_ONCE = 8
"""Files that are pulled at the same time."""

Advance = Callable[[str, int, int], None]
"""Called during a transfer: file, bytes done, and bytes of all files."""


@dataclass(frozen=True)
class Moved:
    """What a transfer did.

    Attributes
    ----------
    address : str
        The repository.
    folder : Path
    files, moved, moved_bytes : int
        Number of all files, number of those that were transferred, and their size.
    removed : int
        Files that were removed from the repository because the folder no longer has them.
    """

    address: str
    folder: Path
    files: int
    moved: int
    moved_bytes: int
    removed: int = 0


def push_folder(
    folder: Path,
    files: Sequence[str],
    address: Address,
    card: str,
    *,
    private: bool = True,
    advance: Advance = lambda name, done, of: None,
) -> Moved:
    """Push files of a folder to a repository, which is made where it does not exist.

    Parameters
    ----------
    folder : Path
    files : sequence of str
        Paths below it, with slashes, in the order of the transfer.
    address : Address
    card : str
        Content of its README.md.
    private : bool
        Whether a repository that is made is private.
    advance : callable
        See `Advance`.

    Raises
    ------
    MissingDependency
        huggingface_hub is not installed.
    Unreachable, FovealError
        The hub does not answer, or refuses.
    ChecksumError
        A file on the hub is not what was pushed.
    """
    hub = _hub()
    with _plain_errors(address):
        api = hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
        api.create_repo(address.repo, repo_type=address.kind, private=private, exist_ok=True)
        there = _listed(api, address)
        wanted = [name for name in files if not _same(folder / name, there.get(name))]
        of = sum((folder / name).stat().st_size for name in wanted)
        gone = [name for name in there if name not in set(files) and name not in _OF_THE_HUB]
        done = 0
        batches = [*_batches(folder, wanted)] or [[]]
        for number, batch in enumerate(batches):
            operations: list[Any] = [
                hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(folder / name))
                for name in batch
            ]
            if number + 1 == len(batches):
                operations += [hub.CommitOperationDelete(path_in_repo=name) for name in gone]
                operations.append(
                    hub.CommitOperationAdd(path_in_repo=_CARD, path_or_fileobj=card.encode())
                )
            api.create_commit(
                address.repo,
                operations,
                commit_message=f"foveal: {len(batch)} files",
                repo_type=address.kind,
            )
            done += sum((folder / name).stat().st_size for name in batch)
            advance(str(address), done, of)
        there = _listed(api, address)
    wrong = [name for name in files if not _same(folder / name, there.get(name))]
    if wrong:
        raise ChecksumError(
            f"{address}: {len(wrong)} files are not there as they were pushed, such as {wrong[0]}; "
            "push again"
        )
    return Moved(str(address), folder, len(files), len(wanted), of, len(gone))


def pull_folder(
    address: Address,
    folder: Path,
    *,
    last: Sequence[str] = (),
    only: Sequence[str] | None = None,
    advance: Advance = lambda name, done, of: None,
) -> Moved:
    """Pull all files of a repository into a folder, and compare each with the hub's digest.

    Parameters
    ----------
    address : Address
    folder : Path
        The folder; its other files stay as they are.
    last : sequence of str
        Files that are pulled last; without them the folder is not complete.
    only : sequence of str, optional
        Files to pull; default is all.
    advance : callable
        See `Advance`.

    Raises
    ------
    MissingDependency, Unreachable, FovealError
        As `push_folder`.
    ChecksumError
        A file is not what the hub says.
    """
    hub = _hub()
    with _plain_errors(address):
        api = hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
        there = {n: f for n, f in _listed(api, address).items() if n not in _OF_THE_HUB}
        lacking = [name for name in only or () if name not in there]
        if lacking or not there:
            raise FovealError(f"{address} holds no {', '.join(lacking) or 'files'}")
        names = [name for name in there if only is None or name in only]
        names = sorted(names, key=lambda name: name in last)
        for name in names:
            _check_path(address, name)
        wanted = [name for name in names if not _same(folder / name, there[name])]
        of = sum(there[name].size for name in wanted)
        _check_room(folder, of)
        revision = api.repo_info(address.repo, repo_type=address.kind).sha

        def fetch(name: str) -> str:
            api.hf_hub_download(
                address.repo, name, repo_type=address.kind, revision=revision, local_dir=folder
            )
            if not _same(folder / name, there[name]):
                (folder / name).unlink(missing_ok=True)
                raise ChecksumError(f"{address}: {name} is not what the hub says; pull again")
            return name

        done = 0
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for group in ([n for n in wanted if n not in last], [n for n in wanted if n in last]):
                for name in pool.map(fetch, group):
                    done += there[name].size
                    advance(name, done, of)
        # The library's own records of the transfer do not belong to the folder.
        shutil.rmtree(folder / ".cache" / "huggingface", ignore_errors=True)
        if (folder / ".cache").is_dir() and not any((folder / ".cache").iterdir()):
            (folder / ".cache").rmdir()
    return Moved(str(address), folder, len(names), len(wanted), of)


def _batches(folder: Path, names: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for name in names:
        batch.append(name)
        size += (folder / name).stat().st_size
        if len(batch) == _BATCH_FILES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _listed(api: Any, address: Address) -> dict[str, Any]:
    """Files of a repository by path."""
    tree = api.list_repo_tree(address.repo, recursive=True, repo_type=address.kind)
    return {each.path: each for each in tree if hasattr(each, "blob_id")}


def _same(path: Path, remote: Any) -> bool:
    """Whether a file is the one on the hub: by SHA-256, or by git's digest where it is small."""
    if remote is None or not path.is_file() or path.stat().st_size != remote.size:
        return False
    if remote.lfs is not None:
        return bool(file_sha256(path) == remote.lfs.sha256)
    content = path.read_bytes()
    digest = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
    return bool(digest.hexdigest() == remote.blob_id)


def _check_path(address: Address, name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise FovealError(f"{address} lists {name!r}, which leads out of the folder; not pulled")


def _check_room(folder: Path, size: int) -> None:
    place = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
    free = shutil.disk_usage(place).free
    if size > free:
        raise FovealError(f"{folder}: {size:,} bytes are to be pulled, {free:,} are free")


def _hub() -> Any:
    try:
        hub = import_module("huggingface_hub")
    except ImportError:
        raise MissingDependency(
            "sharing needs huggingface_hub: pip install 'foveal[share]'"
        ) from None
    import_module("huggingface_hub.utils").disable_progress_bars()
    return hub


@contextmanager
def _plain_errors(address: Address) -> Iterator[None]:
    """Turn errors of the hub into errors of foveal with one sentence each."""
    try:
        yield
    except FovealError:
        raise
    except Exception as error:
        first = error
        while isinstance(first, RuntimeError) and isinstance(first.__cause__, Exception):
            first = first.__cause__  # the library's "Error while uploading …"
        code = getattr(getattr(first, "response", None), "status_code", None)
        name = type(first).__name__
        if code in (401, 403) or name in ("RepositoryNotFoundError", "GatedRepoError"):
            raise FovealError(
                f"{address}: there is no such repository, or your account may not read or write "
                "it: run hf auth login, or set HF_TOKEN"
            ) from error
        module = type(first).__module__.split(".")[0]
        if module.startswith(("huggingface_hub", "httpx", "httpcore", "requests", "hf_xet")):
            where = os.environ.get("HF_ENDPOINT", "the hub")
            said = " ".join(str(first).split()) or name
            raise Unreachable(
                f"{address}: {where} did not answer as expected ({said[:200]}); the same command "
                "goes on where this one was"
            ) from error
        raise
