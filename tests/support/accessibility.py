"""What keeps somebody from reading or using a page, as axe sees it."""

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

SERIOUS = ("serious", "critical")
ALSO_MODERATE = ("moderate", *SERIOUS)


def violations(page: Page, *rules: str, impacts: tuple[str, ...] = SERIOUS) -> list[str]:
    """Axe's findings on the page as it is, by these rules or by all."""
    options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
    # The package's own `run` would have the browser read all of axe's code again for each question.
    if page.evaluate("typeof axe === 'undefined'"):
        page.evaluate(AXE_SCRIPT)
    found = page.evaluate("options => axe.run(options).then(found => found.violations)", options)
    return [
        f"{violation['id']}: {node['html'][:200]}"
        for violation in found
        if violation["impact"] in impacts
        for node in violation["nodes"]
    ]
