"""Addresses of our own pages. A page has hundreds of links: each pattern is looked up once."""

from functools import lru_cache

from django.urls import get_script_prefix, reverse
from django.utils.functional import lazy


def address(name: str, *args: str) -> str:
    """The address of a page of which there are few, by the name of its pattern."""
    return _looked_up(get_script_prefix(), name, args)


lazy_address = lazy(address, str)  # where the patterns are not loaded yet


@lru_cache(maxsize=1_000)
def _looked_up(prefix: str, name: str, args: tuple[str, ...]) -> str:
    """Once for each `prefix` below which the site is served."""
    return reverse(name, args=args)
