"""The short list of reasons that operations are done for."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from billing.models import ReasonCode


@admin.register(ReasonCode)
class ReasonCodeAdmin(ModelAdmin):
    list_display = ("label", "code", "is_active", "position")
    fields = ("label", "code", "is_active", "position")
    list_display_links = ("label",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """A code stands in the audit log: once there, it stays."""
        return ("code",) if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
