"""Is the audit log as it was written, and as it was when its newest hash was kept elsewhere?"""

import importlib
from importlib.util import find_spec

from django.conf import settings

from billing.diagnosis import audit
from billing.recovery.assessment.outcomes import Check, Look, Outcome, Verdict, list_page

EXPORTED = "billing.recovery.export.reading"  # its `audit_head` gives the newest exported hash
LOG = "billing.AuditEvent"
NAME = "exported chain"


def chain(look: Look) -> Outcome:
    """Every audit event with the hash of the one before it; the hash to expect, if one is given."""
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        look.tell(f"audit chain: {done:,} links")

    verdict = audit.verify(look.expect, on_progress=tell)
    numbers = {"links": verdict.links}
    if not verdict.broken:
        said = f"{verdict.links:,} audit events are as they were written; the last hash is"
        said = f"{said} {verdict.head or 'none yet'}."
        return Outcome("audit chain", Verdict.OK, said, numbers=numbers)
    return Outcome(
        "audit chain",
        Verdict.DAMAGED,
        f"{verdict.broken} {verdict.links:,} links before it are whole.",
        "Somebody wrote past the triggers, or rows are lost. The export and the backups hold the"
        " events as they were: manage.py recover_restore compares.",
        list_page(LOG),
        numbers,
    )


def exported(look: Look) -> Outcome:
    """The newest hash that was exported must be in the chain: else its end was cut off."""
    if not getattr(settings, "EXPORT_URL", "") or not is_there(EXPORTED):
        if look.expect:
            return Outcome(NAME, Verdict.OK, "Compared with the hash that was given.")
        said = "No export of the audit log is configured: an end that was cut off does not show."
        advice = "Set EXPORT_URL, or keep the last hash and give it with --expect."
        return Outcome(NAME, Verdict.UNSURE, said, advice)
    try:
        head = importlib.import_module(EXPORTED).audit_head()
    except Exception as error:  # whatever keeps a file or an object store from being read
        said = f"The export could not be read: {error or type(error).__name__}"
        advice = "manage.py export_books says what is wrong with it. Then assess again."
        return Outcome(NAME, Verdict.UNSURE, said, advice, is_blind=True)
    return compared(head.hash if head else "")


def compared(head: str) -> Outcome:
    """Whether the newest exported hash, '' for none yet, is in the chain."""
    if not head:
        return Outcome(NAME, Verdict.OK, "Nothing has been exported yet.")
    if audit.contains(head):
        return Outcome(NAME, Verdict.OK, f"The exported hash {head} is in the chain.")
    return Outcome(
        NAME,
        Verdict.DAMAGED,
        f"The newest exported hash {head} is in no link: events at the end of the log are lost.",
        "Put back what only we knew: manage.py recover_restore reads it from the export.",
        list_page(LOG),
    )


def is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


CHECKS = (Check("audit chain", chain, slow=True), Check(NAME, exported, asks_outside=True))
