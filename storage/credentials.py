"""This module finds credentials in URLs and settings, which must not enter stores, logs or reports.

Every text is searched before it is used for anything else, and masked where a message quotes it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

ADVICE = (
    "leave them out, and set them in the environment (AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY; GOOGLE_APPLICATION_CREDENTIALS) or in the standard files "
    "(~/.aws/credentials)"
)
"""The next step in messages about credentials."""

_BUCKETS = ("s3", "s3a", "gs", "gcs")
"""URL schemes whose first part is a bucket, whose name has neither ``:`` nor ``@``."""

_SECRET = r"secret|password|passwd|credential|access_?key|api_?key|account_?key|session_?token"
_SECRET_KEY = re.compile(_SECRET, re.IGNORECASE)
_SECRET_QUERY = re.compile(
    rf"[?&;](?:[^=&]*(?:{_SECRET}|token|signature)[^=&]*|sig|key)=", re.IGNORECASE
)
_AUTHORITY = re.compile(r"([a-z][a-z0-9+.-]*)://([^\s'\"?]*)", re.IGNORECASE)
_PORT = re.compile(r"[^/@:]+:\d+(?:/|$)")
_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_SHORTEST = 8
"""Characters: shorter values of variables are not secrets, and would mask parts of words."""


def holds_credentials(text: str) -> bool:
    """Tell whether a URL in a text holds a user and password, a key and secret, or a signed query.

    Examples
    --------
    >>> holds_credentials("s3://KEY:SECRET@bucket/store.zarr")
    True
    >>> holds_credentials("s3://bucket/store.zarr")
    False
    """
    text = unquote(text)
    for scheme, rest in _AUTHORITY.findall(text):
        bucket = rest.split("/", 1)[0]
        if scheme.lower() in _BUCKETS:
            if not bucket.startswith("arn:") and set(":@") & set(bucket):
                return True
        elif not _PORT.match(rest) and re.match(r"[^/@]*:[^@]*@", rest):
            return True
    return "://" in text and bool(_SECRET_QUERY.search(text))


def credentials_in(values: Mapping[str, Any]) -> str | None:
    """Return the dotted key of the first value that holds credentials or is named like some."""
    for key, name, value in _leaves(values):
        text = value if isinstance(value, str) else ""
        if holds_credentials(text) or (value is not None and _SECRET_KEY.search(name)):
            return key
    return None


def masked(text: str) -> str:
    """Return a text with ``***`` in place of URLs with credentials and of environment secrets."""
    if holds_credentials(text):
        text = re.sub(r"(://)[^\s'\"]*", r"\1***", text)
    for name in _VARIABLES:
        secret = os.environ.get(name, "")
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, "***")
    return text


def _leaves(value: Any, key: str = "", name: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yield the dotted key, last key and value of every leaf of nested mappings and lists."""
    if isinstance(value, Mapping):
        for inner, one in value.items():
            yield from _leaves(one, f"{key}.{inner}" if key else str(inner), str(inner))
    elif isinstance(value, list | tuple):
        for index, one in enumerate(value):
            yield from _leaves(one, f"{key}.{index}", name)
    else:
        yield key, name, value
