"""Addresses of repositories on the Hugging Face Hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from foveal.errors import FovealError

Kind = Literal["dataset", "model"]

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


@dataclass(frozen=True)
class Address:
    """A repository: ``hf://datasets/NAME/REPO`` for stores, ``hf://NAME/REPO`` for runs.

    Attributes
    ----------
    kind : {'dataset', 'model'}
        Kind of the repository: of a store or of a run.
    repo : str
        Owner and name, ``NAME/REPO``.
    """

    kind: Kind
    repo: str

    @classmethod
    def parse(cls, text: str, kind: Kind) -> Address:
        """Read an address.

        Parameters
        ----------
        text : str
            The address.
        kind : {'dataset', 'model'}
            Kind that it must be of.

        Raises
        ------
        FovealError
            It is no address, or of the other kind.
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
