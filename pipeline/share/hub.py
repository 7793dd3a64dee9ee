"""Folders of files to the Hugging Face Hub and back: only what differs travels, all is compared.

An interrupted transfer goes on where it was: files that lie there with the right digest are left
alone. ``HF_ENDPOINT`` names another hub, ``HF_TOKEN`` or ``hf auth login`` say who one is.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from foveal.errors import ChecksumError, FovealError, MissingDependency, Unreachable
from foveal.machine import file_sha256

Kind = Literal["dataset", "model"]

CARD = "README.md"

_OF_THE_HUB = (CARD, ".gitattributes")
"""Files of a repository that are no part of what was pushed."""

_BATCH_FILES, _BATCH_BYTES = 200, 2 << 30
"""A commit holds so much at most: what an interruption can cost."""

_AT_ONCE = 8
"""Files that are fetched side by side."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")

Advance = Callable[[str, int, int], None]
"""Told how far a transfer is: file, bytes done, bytes of all."""


@dataclass(frozen=True)
class Address:
    """A repository: ``hf://datasets/NAME/REPO`` for stores, ``hf://NAME/REPO`` for runs.

    Attributes
    ----------
    kind : {'dataset', 'model'}
    repo : str
        Owner and name.
    """

    kind: Kind
    repo: str

    @classmethod
    def parse(cls, text: str, kind: Kind) -> Address:
        """Read an address of the kind wanted.

        Raises
        ------
        FovealError
            It is none, or of the other kind.
        """
        form = "hf://datasets/NAME/REPO" if kind == "dataset" else "hf://NAME/REPO"
        rest = text.removeprefix("hf://")
        is_dataset = rest.startswith("datasets/")
        repo = rest.removeprefix("datasets/").rstrip("/")
        wrong = rest == text or is_dataset != (kind == "dataset")
        if wrong or not _NAME.fullmatch(repo) or ".." in repo:
            what = "a store" if kind == "dataset" else "a trained run"
            raise FovealError(f"{text!r} is no address of {what} on the hub: {form}")
        return cls(kind, repo)

    def __str__(self) -> str:
        return f"hf://{'datasets/' if self.kind == 'dataset' else ''}{self.repo}"


@dataclass(frozen=True)
class Moved:
    """What a transfer did.

    Attributes
    ----------
    address : str
    folder : Path
    files, moved, moved_bytes : int
        Files in all, those that were not there yet, and their size.
    removed : int
        Files of the repository that the folder no longer has.
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
    """Bring files of a folder to a repository, which is made where there is none.

    Parameters
    ----------
    folder : Path
    files : sequence of str
        Paths below it, with slashes. The last ones arrive last.
    address : Address
    card : str
        Content of its README.md.
    private : bool
        For a repository that is made.
    advance : callable

    Raises
    ------
    MissingDependency
        There is no huggingface_hub.
    Unreachable, FovealError
        The hub does not answer, or refuses.
    ChecksumError
        What lies there afterwards is not what was pushed.
    """
    hub = _hub()
    with _speaking_of(address):
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
                    hub.CommitOperationAdd(path_in_repo=CARD, path_or_fileobj=card.encode())
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
    """Bring all files of a repository into a folder, and compare each with the hub's digest.

    Parameters
    ----------
    address : Address
    folder : Path
        Files that it holds besides stay as they are.
    last : sequence of str
        Files that arrive last: before they are there, nobody takes the folder for whole.
    only : sequence of str, optional
        Only these files.
    advance : callable

    Raises
    ------
    MissingDependency, Unreachable, FovealError
        As `push_folder`.
    ChecksumError
        A file is not what the hub says.
    """
    hub = _hub()
    with _speaking_of(address):
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
        # What the library remembers of a transfer is no part of what was pulled.
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
    """Whether a file is the one that the hub lists: by SHA-256, or by git's digest if small."""
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
            "sharing goes through huggingface_hub; pip install 'foveal[share]'"
        ) from None
    import_module("huggingface_hub.utils").disable_progress_bars()
    return hub


@contextmanager
def _speaking_of(address: Address) -> Iterator[None]:
    """Errors of the hub in one sentence each."""
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
                f"{address}: there is no such repository, or it may not be reached or written "
                "without saying who you are: hf auth login, or HF_TOKEN"
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
