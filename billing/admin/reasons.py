"""The short list of reasons that operations are done for."""

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import Model
from django.http import HttpRequest

from billing.admin import cells
from billing.admin.base import ReadOnlyAdmin
from billing.models import BillingEvent, ReasonCode, acting_as

FIELDS = ("label", "code", "is_active", "position")


@admin.register(ReasonCode)
class ReasonCodeAdmin(ReadOnlyAdmin):
    """Edited here: a setting of ours. What is not used any more is made inactive."""

    list_display = ("label_words", "code_words", "active_words", "position")
    fields = FIELDS
    empty_text = "Without a reason to choose, nothing can be changed by hand: add one."

    label_words = cells.text_column("label", "Reason")
    code_words = cells.text_column("code", "Code")
    active_words = cells.yes_no_column("is_active", "In use")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("billing.add_reasoncode")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm("billing.change_reasoncode")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """A code stands in the audit log: once there, it stays."""
        return ("code",) if obj else ()

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Saves it with an audit event that says what it was before."""
        actor = request.user.get_username()
        before = ReasonCode.objects.filter(pk=obj.pk).values(*FIELDS).first() if change else None
        with transaction.atomic(), acting_as(actor):
            super().save_model(request, obj, form, change)
            after = {name: getattr(obj, name) for name in FIELDS}
            BillingEvent.objects.create(
                type="manual.reason_code",
                payload={
                    "admin": actor,
                    "before": before,
                    "after": after,
                    "summary": f"The reason “{obj.label}” was {'changed' if change else 'added'}.",
                },
            )
