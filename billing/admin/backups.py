"""Backups of the database: which there are, whether they are good, and what to do with them."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.admin import display
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils import timezone

from billing.admin import cells
from billing.admin.base import ReadOnlyAdmin
from billing.admin.cells import changelist_url, page_url
from billing.admin.filters import choice_filter, since_filter
from billing.admin.forms import User
from billing.admin.offers import ShownOffer
from billing.admin.operations import MAKE_BACKUP
from billing.admin.runs import Figures, duration_words
from billing.alerts.firing import counted
from billing.formatting import format_size, format_time
from billing.models import Backup
from billing.operations.backups import WHAT
from billing.recovery.backups.state import differences, state
from billing.recovery.export import state as export

GOOD = Q(verified_at__isnull=False, deleted_at=None)
FAILED = ~Q(error="")
LEDGER = {
    "delta": "Credits, all entries",
    "owed_delta": "Owed, all entries",
    "balance": "Credits, all balances",
    "owed": "Owed, all users",
}


@admin.register(Backup)
class BackupAdmin(ReadOnlyAdmin):
    list_display = ("name_words", "state", "taken", "size_words", "took", "actor_words", "why")
    sortable_by = ("taken",)
    list_filter = (
        choice_filter(
            "state",
            "state",
            [
                ("good", "Verified", GOOD),
                ("failed", "Not good", FAILED),
                ("unverified", "Not verified", Q(verified_at=None, error="", deleted_at=None)),
                ("deleted", "Deleted", Q(deleted_at__isnull=False)),
            ],
        ),
        since_filter("taken_at", "time"),
    )
    empty_text = "No backup was made yet. The worker makes one every night, at half past two, UTC."
    list_before_template = "admin/billing/backups.html"  # type: ignore[assignment]  # a path
    change_form_template = "admin/billing/backup.html"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("state", "why"),
                    ("taken", "verified"),
                    ("size_words", "took"),
                    ("actor_words", "deleted"),
                    "location_words",
                )
            },
        ),
    )

    name_words = cells.text_column("name", "Backup")
    taken = cells.time_column("taken_at", "Taken")
    verified = cells.time_column("verified_at", "Verified")
    deleted = cells.time_column("deleted_at", "Deleted")
    size_words = cells.column(lambda row: cells.no_wrap(format_size(row.size)), "Size")
    took = cells.column(lambda row: cells.no_wrap(duration_words(row.seconds)), "Took")
    actor_words = cells.text_column("actor", "By")
    why = cells.paragraph_column("error", "Why it is not good")
    location_words = cells.paragraph_column("location", "File")

    @display(description="State")
    def state(self, row: Backup) -> str:
        return cells.label(*state_words(row))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Lists do without the manifests."""
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows.defer("manifest")

    def headline(self, row: Backup) -> tuple[str, str]:
        if row.error:
            return f"It is not good. {row.error}", "danger"
        if row.deleted_at:
            return "It was too old to be kept, or its file is gone.", "info"
        if row.verified_at:
            at = format_time(row.verified_at)
            return f"It was restored and found the same, at {at}.", "success"
        return "Nobody knows whether it is good: it was not verified, or not yet.", "warning"

    def buttons(self, row: Backup, user: User) -> list[ShownOffer]:
        return starts(user, back=page_url(row))

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        found, now = state(), timezone.now()
        context = {
            "verdicts": [found.verdict(now), export.status().verdict(now)],
            "starts": starts(request.user, back=changelist_url(Backup)),
            "place": settings.BACKUP_FOLDER,
            "differences": differences(),
            "commands": commands(found.good) if found.good else [],
            **(extra_context or {}),
        }
        return super().changelist_view(request, context)

    def page_context(self, request: HttpRequest, row: Backup) -> dict[str, Any]:
        return {
            "commands": [] if row.deleted_at else commands(row),
            "figures": [moment_table(row), counts_table(row)] if row.manifest else [],
        }


def state_words(row: Backup) -> tuple[str, str]:
    """What has become of a backup, and its tone."""
    if row.error:
        return "Not good", "danger"
    if row.deleted_at:
        return "Deleted", ""
    return ("Verified", "success") if row.verified_at else ("Not verified", "warning")


def commands(row: Backup) -> list[tuple[str, str]]:
    """What to run when the database is damaged, in this order, each with what it does."""
    return [
        ("Say what is damaged, and whom it concerns.", "manage.py assess"),
        (
            "Put this backup in its place. The damaged one is kept.",
            f"manage.py restore {row.name}",
        ),
        ("Bring back what happened since.", "manage.py recover_restore"),
    ]


def starts(user: User, *, back: str) -> list[ShownOffer]:
    """The button, for those who may make a backup where there is a place for it."""
    if not (MAKE_BACKUP.is_permitted(user) and settings.BACKUP_FOLDER):
        return []
    url = MAKE_BACKUP.url({"target": WHAT, "back": back})
    return [ShownOffer(MAKE_BACKUP.title, MAKE_BACKUP.icon, url, "")]


def moment_table(row: Backup) -> Figures:
    """What was so at its moment, besides the rows."""
    contents = row.manifest["contents"]
    head, event = contents["audit_head"], contents["newest_event"]
    table = Figures("At its moment", ["What", "Value"])
    said = {
        "Database": row.manifest["database"],
        "PostgreSQL": row.manifest["server_version"],
        "Migrations": f"{len(contents['migrations']):,}",
        "Audit log": f"{head['position']:,} links, the last {head['hash'][:16]}…" if head else "–",
        "Newest event of Stripe's": f"{event['id']}, {event['created_at']}" if event else "–",
        "SHA-256 of the file": row.manifest["sha256"],
        **{words: f"{contents['ledger'][key]:,}" for key, words in LEDGER.items()},
    }
    table.rows = [("", [what, value]) for what, value in said.items()]
    return table


def counts_table(row: Backup) -> Figures:
    """How many rows each table had, and the highest id in it; empty ones are left out."""
    contents = row.manifest["contents"]
    table = Figures("Rows", ["Table", "Rows", "Highest id"])
    for name, rows in sorted(contents["rows"].items(), key=lambda item: (-item[1], item[0])):
        if rows:
            highest = contents["highest"].get(name)
            highest_words = cells.EMPTY if highest is None else f"{highest:,}"
            table.rows.append(("", [name, f"{rows:,}", highest_words]))
    empty = sum(not rows for rows in contents["rows"].values())
    table.note = f"{counted(empty, 'more table was', 'more tables were')} empty."
    return table
