"""A browser in two words, from what it says of itself: enough to tell one's own apart."""

NAMES = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox", "Firefox"),
    ("Chrome", "Chrome"),
    ("Safari", "Safari"),
)
SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS", "macOS"),
    ("Linux", "Linux"),
)
SHOWN = 60  # characters of what is not known


def browser(agent: str) -> str:
    """Such as “Firefox on Windows”; what it says of itself where that is nothing known."""
    name = next((words for sign, words in NAMES if sign in agent), "")
    system = next((words for sign, words in SYSTEMS if sign in agent), "")
    if name and system:
        return f"{name} on {system}"
    return agent[:SHOWN] or "–"
