"""Who may log in, and which role they have: shown here, and changed by operations."""

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as StockGroupAdmin
from django.contrib.auth.admin import UserAdmin as StockUserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html_join
from unfold.admin import ModelAdmin

from billing.access import second_factor
from billing.admin import cells
from billing.admin.operations import CHANGE_RIGHTS, RESET_FACTOR, SWITCH_OFF, SWITCH_ON
from billing.operations.accounts import own_permissions
from billing.permissions import VIEW_ACCESS

admin.site.unregister(User)
admin.site.unregister(Group)


class OnlyShown(ModelAdmin):
    """Shown to those who look after access. Changed by operations alone (operations.accounts)."""

    def may_see(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm(VIEW_ACCESS))

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.may_see(request)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.may_see(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(User)
class UserAdmin(OnlyShown, StockUserAdmin):  # type: ignore[type-arg,misc]
    list_display = ("username", "email", "roles", "is_active", "is_superuser", "last_login")
    list_filter = ("groups", "is_active")
    fieldsets = (
        (None, {"fields": ("username", "email", "first_name", "last_name")}),
        ("Rights", {"fields": ("is_active", "is_superuser", "roles", "besides", "factors")}),
        ("Times", {"fields": ("last_login", "date_joined")}),
        ("What to do", {"fields": ("offers",)}),
    )
    readonly_fields = ("roles", "besides", "factors", "offers")

    @admin.display(description="Roles")
    def roles(self, user: User) -> str:
        return ", ".join(group.name for group in user.groups.all()) or "–"

    @admin.display(description="Permissions besides")
    def besides(self, user: User) -> str:
        return ", ".join(own_permissions(user)) or "–"

    @admin.display(description="Second factor")
    def factors(self, user: User) -> str:
        return ", ".join(second_factor.kinds(user.pk)) or "–"

    @admin.display(description="")
    def offers(self, user: User) -> str:
        """Where what can be done to the account is asked for; the pages check who may."""
        return format_html_join(
            " · ", '<a href="{}" class="{}">{}</a>',
            [(url, cells.LINK, words) for words, url in offered(user)],
        )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("groups")


@admin.register(Group)
class GroupAdmin(OnlyShown, StockGroupAdmin):  # type: ignore[misc]
    pass


def offered(user: User) -> list[tuple[str, str]]:
    """What can be done to an account: words and addresses."""
    answers = {"target": user.username, "back": cells.page_url(user)}
    pages = [CHANGE_RIGHTS, RESET_FACTOR, SWITCH_OFF if user.is_active else SWITCH_ON]
    history = f"{reverse('access_log_ins')}?{urlencode({'user': user.username})}"
    return [*((page.title, page.url(answers)) for page in pages), ("Log-ins", history)]
