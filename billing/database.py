"""Statements for many rows: what they are given is one JSON parameter, bound by the server.

A list or an array for each column would be quoted value by value in Python, and Django's
usual cursor writes all parameters into the statement's text, where PostgreSQL parses them
once more: for a page of Stripe's objects that costs more than storing it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from django.db import connection
from django.db.backends.postgresql.base import ServerBindingCursor
from django.db.backends.utils import CursorWrapper

TEXTS = "ARRAY(SELECT json_array_elements_text(%s::json))"
"""An array of texts from one parameter, `as_json` of them."""


def cursor() -> CursorWrapper:
    """A cursor of Django's connection whose parameters the server binds."""
    connection.ensure_connection()
    psycopg = connection.connection
    usual, psycopg.cursor_factory = psycopg.cursor_factory, ServerBindingCursor
    try:
        return connection.cursor()
    finally:
        psycopg.cursor_factory = usual


def as_json(values: Iterable[Any]) -> str:
    """Rows as a parameter of `recordset`, texts as one of `TEXTS`; datetimes as ISO 8601."""
    return orjson.dumps(list(values)).decode()


def recordset(columns: Mapping[str, str]) -> str:
    """A FROM clause's rows from one parameter, `columns` naming each column's SQL type."""
    types = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    return f"json_to_recordset(%s::json) AS n({types})"
