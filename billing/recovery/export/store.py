"""The place outside the database: a folder, or a bucket of an object store."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import obstore
from django.conf import settings
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, S3Store

PATIENCE = "20s"  # for one request
RETRIES = 2
FOLDER_MODE = 0o700
SAID = 300  # characters of what a store says of an error
# A bucket that is missing is told as an object that is.
NO_BUCKET = "NoSuchBucket"


class StoreError(Exception):
    """The place cannot be read or written, or holds what it must not. A sentence for people."""


class ExportNotConfiguredError(StoreError):
    """No place is set."""


class Store:
    """Objects by their paths. What was created once is never written again."""

    def __init__(self, url: str) -> None:
        self.place = shown(url)
        self._url = urlsplit(url)
        is_file = self._url.scheme == "file"
        self.folder = Path(unquote(self._url.path)) if is_file else None

    @cached_property
    def _store(self) -> LocalStore | S3Store:
        if self.folder is not None:
            return LocalStore(self.folder)
        return _bucket(self._url.netloc, self._url.path.strip("/"), parse_qs(self._url.query))

    def prepare(self) -> None:
        """Makes the folder, within one that is there: not on a disk that is not mounted."""
        if self.folder is None or self.folder.is_dir():
            return
        try:
            self.folder.mkdir(mode=FOLDER_MODE)
        except OSError as error:
            raise StoreError(self._cannot("made", error)) from error

    def create(self, path: str, body: bytes) -> bool:
        """Writes an object that is not there yet; False where it is. Raises StoreError."""
        with self._telling("written"):
            try:
                obstore.put(self._store, path, body, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
            self._sync(path)
        return True

    def replace(self, path: str, body: bytes) -> None:
        """Writes an object whether it is there or not. Raises StoreError."""
        with self._telling("written"):
            obstore.put(self._store, path, body, mode="overwrite", use_multipart=False)

    def read(self, path: str) -> bytes | None:
        """An object's bytes; None where it is not there. Raises StoreError."""
        with self._telling("read"):
            try:
                return bytes(obstore.get(self._store, path).bytes())
            except FileNotFoundError as error:
                if NO_BUCKET in str(error):
                    raise
                return None

    def names(self, folder: str) -> Iterator[str]:
        """The paths of all objects in a folder, in no order. Raises StoreError."""
        with self._telling("listed"):
            for batch in obstore.list(self._store, prefix=folder):
                yield from (found["path"] for found in batch)

    @contextmanager
    def _telling(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            raise StoreError(self._cannot(verb, error)) from error

    def _cannot(self, verb: str, error: Exception) -> str:
        why = str(error).split("Debug source")[0].split("<?xml")[0]
        if isinstance(error, FileNotFoundError) and NO_BUCKET in str(error):
            why = "there is no such bucket"
        return f"{self.place} cannot be {verb}: {' '.join(why.split())[:SAID].rstrip('. ')}."

    def _sync(self, path: str) -> None:
        """Has the disk keep a new file, whatever happens to the machine now."""
        if self.folder is None:
            return
        file = self.folder / path
        for each in (file, file.parent):
            descriptor = os.open(each, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def open_store() -> Store:
    """The place that EXPORT_URL names. Raises ExportNotConfiguredError."""
    if not settings.EXPORT_URL:
        raise ExportNotConfiguredError(
            "EXPORT_URL is not set: give it file:///folder or s3://bucket/folder, for the worker"
            " and here."
        )
    return Store(settings.EXPORT_URL)


def shown(url: str) -> str:
    """A place as people may see it, and as it is told from others."""
    return url.split("?")[0]


def _bucket(name: str, prefix: str, query: dict[str, list[str]]) -> S3Store:
    """Credentials come from where Amazon's own tools take them."""
    endpoint = query.get("endpoint", [""])[0]
    given: dict[str, Any] = {"endpoint": endpoint} if endpoint else {}
    if region := query.get("region", [""])[0] or ("us-east-1" if endpoint else ""):
        given["region"] = region
    return S3Store(
        name,
        prefix=prefix or None,
        client_options={"timeout": PATIENCE, "allow_http": endpoint.startswith("http://")},
        retry_config={"max_retries": RETRIES},
        **given,
    )
