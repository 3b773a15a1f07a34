"""The figures of an incident in words, and the draft of its closing report."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from billing.formatting import format_money, format_span, format_time
from billing.incidents.figures import Figures
from billing.incidents.scope import Scope
from billing.models import Incident

NONE = "none"
MOST_TOLD = 20  # whom a draft names
Line = tuple[str, str]


def stake_words(amounts: Mapping[str, int], credits_: int = 0) -> str:
    """`9.00 EUR, 45.00 USD, 50 credits`: each currency by itself; `none` for nothing."""
    said = [format_money(amounts[code], code) for code in sorted(amounts) if amounts[code]]
    said += [f"{credits_:,} credits"] if credits_ else []
    return ", ".join(said) or NONE


def ungranted_words(purchases: int, credits_: int) -> str:
    """`50 credits`; how many purchases, where nobody knows their credits yet; '' for none."""
    if credits_:
        return f"{credits_:,} credits"
    return f"{purchases:,} purchase{'' if purchases == 1 else 's'}" if purchases else ""


def span_words(seconds: float | None) -> str:
    """`2 days 3 hours`, `1 hour 20 minutes`, `5 minutes`: the two largest units."""
    if seconds is None:
        return "not yet"
    return format_span(round(seconds / 60)) or "under a minute"


def time_words(iso: str | None) -> str:
    return format_time(datetime.fromisoformat(iso)) if iso else "not yet"


def time_lines(said: Figures) -> Iterator[Line]:
    """When each thing happened, and how long after the start of the trouble."""
    spans = said["seconds"]
    yield "Began", time_words(said["started_at"])
    yield "Noticed", after(said["detected_at"], spans["to_detection"])
    yield "First action", after(said["first_action_at"], spans["to_first_action"])
    yield "Last recovery", after(said["recovered_at"], spans["to_recovery"])
    yield "Ended", time_words(said["ended_at"]) if said["ended_at"] else "it is open"
    yield "Lasted", span_words(spans["lasted"]) + ("" if said["ended_at"] else " so far")


def after(iso: str | None, seconds: float | None) -> str:
    return f"{time_words(iso)}, after {span_words(seconds)}" if iso else "not yet"


def stake_rows(said: Figures) -> list[list[str]]:
    """What was at stake, in all its time and at the time of the figures."""
    worst, now = said["worst"], said["now"]
    counts = (
        ("Customers touched", "customers"),
        ("Paid, and without access", "access"),
        ("Purchases paid, not granted", "purchases"),
        ("Credits paid, not granted", "ungranted"),
        ("Credits at stake", "credits"),
        ("Findings", "findings"),
    )
    rows = [[title, f"{worst[name]:,}", f"{now[name]:,}"] for title, name in counts]
    rows.insert(4, ["Money at stake", stake_words(worst["money"]), stake_words(now["money"])])
    return rows


def done_lines(said: Figures) -> Iterator[Line]:
    """What was done about it, in all."""
    yield from event_lines(said)
    yield from work_lines(said)


def event_lines(said: Figures) -> Iterator[Line]:
    """What became of the events."""
    events = said["events"]
    yield "Events missed", f"{events['missed']:,}"
    yield "Of them recovered", f"{events['recovered']:,}"
    yield "Of them not recovered yet", f"{events['not_recovered']:,}"
    yield "Events replayed by hand", f"{events['replayed']:,}"
    yield "Events that wait", f"{events['waiting']:,}"


def work_lines(said: Figures) -> Iterator[Line]:
    """What people did, and what the machine did for them."""
    for name, by_status in said["operations"].items():
        yield f"Operation: {name.replace('_', ' ')}", by_status_words(by_status)
    if said["bulk"]:
        yield "Targets of bulk jobs", by_status_words(said["bulk"])
    for each in said["recoveries"]:
        window = f"from {time_words(each['since'])} to {time_words(each['until'])}"
        missed = f"{each['missed']:,} events missed"
        yield f"Recovery {each['id']} ({each['kind']})", f"{each['status']}, {window}, {missed}"
    for each in said["runs"]:
        stake = {code: n for code, n in each["at_stake"].items() if code != "credits"}
        worth = stake_words(stake, each["at_stake"].get("credits", 0))
        found = f"{each['found']:,} found to differ, at stake: {worth}"
        started = time_words(each["started_at"])
        yield f"Reconciliation ({each['kind']})", f"{each['status']}, {started}: {found}"


def by_status_words(counts: Mapping[str, int]) -> str:
    """`3 applied, 1 failed`."""
    return ", ".join(f"{count:,} {status}" for status, count in counts.items())


def sum_lines(said: Figures) -> Iterator[str]:
    """Whom it touched, what was at stake, and what became of the events: in sentences."""
    worst, now, events = said["worst"], said["now"], said["events"]
    yield (
        f"{worst['customers']:,} customers were touched, {now['customers']:,} still are;"
        f" {worst['access']:,} had paid and had no access, {now['access']:,} still have none."
    )
    yield (
        f"At stake at the worst: {stake_words(worst['money'], worst['credits'])}."
        f" Now: {stake_words(now['money'], now['credits'])}."
    )
    yield (
        f"Events missed: {events['missed']:,}; recovered: {events['recovered']:,};"
        f" replayed by hand: {events['replayed']:,}; waiting: {events['waiting']:,}."
    )


def draft(incident: Incident, said: Figures) -> str:
    """What the closing report may begin with; whoever closes it writes the rest."""
    told = list(dict.fromkeys(f"{each['whom']} ({each['way'].lower()})" for each in said["told"]))
    lines: list[str] = [
        f"{incident.title}.",
        "",
        *(f"{name}: {words}" for name, words in time_lines(said)),
        "",
        *sum_lines(said),
        *(f"{name}: {words}" for name, words in work_lines(said)),
        f"Told: {', '.join(told[:MOST_TOLD]) or 'nobody'}.",
        "",
        "What happened: ",
        "What was done: ",
        "What is to be done yet: ",
    ]
    return "\n".join(lines)


def short(incident: Incident, now: Scope) -> str:
    """What those who are told of it may read, to be changed by who tells them."""
    what = f"{incident.title}, since {format_time(incident.started_at)}"
    over = f" It is over since {format_time(incident.ended_at)}." if incident.ended_at else ""
    return (
        f"{what}. {incident.owner} looks after it.{over} {now.customers:,} customers are touched,"
        f" {now.access:,} of them paid and have no access. At stake:"
        f" {stake_words(now.amounts, now.credits)}."
    )
