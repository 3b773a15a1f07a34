"""The content security policies: one for Unfold's pages, and one that lets nothing through.

The customers' own pages have a third one, stricter than Unfold's (billing.selfservice.views).
"""

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.template.loader import render_to_string

from billing.addresses import address

STYLE = re.compile(r"<style[^>]*>(.*?)</style>", re.DOTALL)
UNFOLD_PAGES = ("/admin/",)


def policy_for(request: HttpRequest) -> str:
    """What a page at this address may load, where its view says nothing else."""
    if not request.path.startswith(UNFOLD_PAGES):
        return bare_policy()
    if request.path == address("mfa_activate_totp"):
        return unfold_policy("'self' data:")  # the code to scan is in the page, and in no address
    return unfold_policy()


@cache
def unfold_policy(images: str = "'self'") -> str:
    """Unfold's pages: everything from here, and the three exceptions that they need.

    - 'unsafe-eval': Alpine makes functions of its attributes. Its other build, which does not,
      knows no arrow functions and no localStorage, which Unfold's own attributes use.
    - the hash of Unfold's one style element, the colours of `UNFOLD`; of the error pages' too.
    - style attributes: Alpine writes them (x-bind:style), Unfold's tables and progress bars too.
      They cannot choose what they apply to, and load nothing: images come from here alone.

    tests/web/test_policies.py finds out that each is still needed.
    """
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self' 'unsafe-eval'",
            f"style-src 'self' {' '.join(hashes(unfold_styles() + error_styles()))}",
            "style-src-attr 'unsafe-inline'",
            f"img-src {images}",
            "font-src 'self'",
            "connect-src 'self'",
            "form-action 'self'",
            "object-src 'none'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ]
    )


@cache
def bare_policy() -> str:
    """All else: nothing is loaded, sent, run or framed. Error pages keep their own style."""
    return "; ".join(
        [
            "default-src 'none'",
            f"style-src {' '.join(hashes(error_styles()))}",
            "form-action 'none'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ]
    )


def unfold_styles() -> list[str]:
    """The style elements that Unfold writes into each of its pages: one, of its settings alone."""
    site: Any = admin.site
    colors = site._get_colors("COLORS", HttpRequest())
    radius = site._get_config("BORDER_RADIUS", HttpRequest())
    page = render_to_string(
        "unfold/layouts/skeleton.html", {"colors": colors, "border_radius": radius}
    )
    return STYLE.findall(page)


def error_styles() -> list[str]:
    """The style elements of the error pages, which need no other file to be readable."""
    folder = Path(settings.BASE_DIR) / "templates"
    pages = [folder / "refusal.html", *sorted(folder.glob("[45]*.html"))]
    return [text for page in pages for text in STYLE.findall(page.read_text())]


def hashes(texts: list[str]) -> list[str]:
    """The sources that let these texts through, each once."""
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return sorted({f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests})
