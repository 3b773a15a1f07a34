"""Balances, the ledger, lead claims, and what prices are worth in credits."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import display
from django.db import transaction
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from unfold.widgets import UnfoldAdminTextareaWidget

from billing.admin import cells
from billing.admin.base import ReadOnlyAdmin
from billing.admin.filters import choice_filter, choices_filter, since_filter
from billing.admin.offers import Offer
from billing.admin.operations import CORRECT, GRANT, REFUND_CLAIM, TIE_OUT
from billing.admin.related import Related, matching, operations_on
from billing.diagnosis import narrowing
from billing.models import (
    BillingCustomer,
    BillingEvent,
    CreditEntry,
    CreditPrice,
    LeadClaim,
    LeadCredits,
    OperationRecord,
    Purchase,
    acting_as,
)
from billing.operations import claims
from billing.operations.base import MAX_REASON
from billing.projection import ledger


def tied_out(row: LeadCredits) -> str:
    """That the balance is what its ledger says; '' where it is not."""
    if (row.balance, row.owed) == ledger.recorded(row.user_id):
        return "The balance is what its ledger says: there is nothing to tie out."
    return ""


@admin.register(LeadCredits)
class BalanceAdmin(ReadOnlyAdmin):
    """One balance per user. A user without a row has 0, and is found among the customers."""

    list_display = ("user_text", "balance_words", "owed_words", "customer", "updated")
    list_filter = (
        choice_filter(
            "state",
            "state",
            [
                ("owing", "Owes credits", Q(owed__gt=0)),
            ],
        ),
    )
    search_fields = ("user_id",)
    search_help_text = "User, email or customer"
    sortable_by = ()  # an index of what each claim changes would slow each claim down
    empty_text = "A balance appears with a user's first credits."
    fieldsets = (
        (None, {"fields": ("user_text", "customer", "balance_words", "owed_words", "updated")}),
    )
    offers = (
        Offer(GRANT, target=lambda row: row.user_id),
        Offer(CORRECT, target=lambda row: row.user_id),
        Offer(TIE_OUT, target=lambda row: row.user_id, refusal=tied_out),
    )
    related = (
        matching(
            "Customers at Stripe",
            BillingCustomer,
            "user_id",
            "user_id",
            "No customer at Stripe stands for this user.",
        ),
        matching("Ledger", CreditEntry, "user_id", "user_id", "No credits have come or gone."),
        matching(
            "Purchases", Purchase, "user_id", "user_id", "Nothing bought that is worth credits."
        ),
        matching("Lead claims", LeadClaim, "user_id", "user_id", "No lead claimed."),
        operations_on("user_id"),
    )

    user_text = cells.text_column("user_id", "User")
    balance_words = cells.column(lambda row: f"{row.balance:,}", "Balance", "balance")
    owed_words = cells.column(lambda row: f"{row.owed:,}", "Owed", "owed")
    customer = cells.column(
        lambda row: cells.link(cells.open_url(user=row.user_id), "Open"), "Customer"
    )
    updated = cells.time_column("updated_at", "Changed")

    def find(self, rows: QuerySet[LeadCredits], term: str) -> QuerySet[LeadCredits]:
        return narrowing.find(rows, term, ("user_id",), user="user_id")

    def headline(self, row: LeadCredits) -> tuple[str, str]:
        if row.owed:
            text = (
                f"Owes {row.owed:,} credits that were spent before a refund or dispute took them"
                " back. The next grant pays them first."
            )
            return text, "warning"
        return "", ""


@admin.register(CreditEntry)
class EntryAdmin(ReadOnlyAdmin):
    list_display = (
        "change", "user", "what", "after", "actor_words", "reason_brief", "source_id", "created",
    )  # fmt: skip
    related_columns = (
        "change", "after", "what", "actor_words", "reason_brief", "source_id", "created",
    )  # fmt: skip
    list_filter = (
        choices_filter("kind", CreditEntry.Kind.choices),
        since_filter("created_at", "time"),
    )
    search_fields = ("user_id",)
    search_help_text = "User, email, customer, or what was bought"
    ordering = ("-created_at", "-id")  # as an index of each kind has it, however long ago it was
    empty_text = "Every change of a balance is written here by the database itself."
    fieldsets = (
        (None, {"fields": ("user", "change", "owed_change", "after", "owed_words")}),
        ("Why", {"fields": ("what", "source_id", "actor_words", "reason_words", "created")}),
    )

    user = cells.user_column()
    change = cells.column(lambda row: cells.signed(row.delta), "Credits")
    owed_change = cells.column(lambda row: cells.signed(row.owed_delta), "Owed credits")
    after = cells.column(lambda row: f"{row.balance_after:,}", "Balance after")
    owed_words = cells.column(lambda row: f"{row.owed_after:,}", "Owed after")
    source_id = cells.stripe_id_column("source", "Source")
    actor_words = cells.text_column("actor", "By")
    reason_words = cells.paragraph_column("reason", "Reason")
    reason_brief = cells.brief_column("reason", "Reason")
    created = cells.time_column("created_at", "Time")

    @display(description="What")
    def what(self, row: CreditEntry) -> str:
        tone = "danger" if row.kind == CreditEntry.Kind.SQL else ""
        return cells.label(row.get_kind_display(), tone)

    def find(self, rows: QuerySet[CreditEntry], term: str) -> QuerySet[CreditEntry]:
        sources = [f"checkout:{term}", f"invoice:{term}", f"refund:{term}", f"dispute:{term}", term]
        return narrowing.find(rows, term, (), user="user_id", also=Q(source__in=sources))


@admin.register(LeadClaim)
class ClaimAdmin(ReadOnlyAdmin):
    list_display = ("lead", "state", "user", "spent", "why", "claimed")
    related_columns = ("lead", "state", "spent", "why", "claimed")
    list_filter = (
        choices_filter("status", LeadClaim.Status.choices),
        since_filter("claimed_at", "time"),
    )
    search_fields = ("user_id",)
    search_help_text = "User, email, customer or lead"
    sortable_by = ("claimed",)
    empty_text = "The application writes a row for every lead that a user claims."
    fieldsets = ((None, {"fields": ("state", "user", "lead", "spent", "why", "claimed")}),)
    offers = (
        Offer(
            REFUND_CLAIM,
            target=lambda row: f"{claims.PREFIX}{row.pk}",
            refusal=lambda row: claims.objection(row) or claims.given_back(row.pk),
        ),
    )
    related = (
        Related(
            "Ledger",
            CreditEntry,
            "Its credits were not given back.",
            rows=lambda row: CreditEntry.objects.filter(source=f"{claims.PREFIX}{row.pk}"),
            query=lambda row: row.user_id,
        ),
        Related(
            "Operations",
            OperationRecord,
            "Nobody has changed anything by hand.",
            rows=lambda row: OperationRecord.objects.filter(subject=f"{claims.PREFIX}{row.pk}"),
            query=lambda row: f"{claims.PREFIX}{row.pk}",
        ),
    )

    state = cells.status_column()
    user = cells.user_column()
    lead = cells.text_column("lead_id", "Lead")
    spent = cells.column(lambda row: f"{row.credits_spent:,}", "Credits spent")
    why = cells.paragraph_column("failure_reason", "Why it failed")
    claimed = cells.time_column("claimed_at", "Claimed")

    def find(self, rows: QuerySet[LeadClaim], term: str) -> QuerySet[LeadClaim]:
        return narrowing.find(rows, term, ("lead_id",), user="user_id")

    def headline(self, row: LeadClaim) -> tuple[str, str]:
        if row.status == LeadClaim.Status.FAILED and row.credits_spent:
            return f"It failed, and {row.credits_spent:,} credits were spent on it.", "danger"
        return "", ""


class PriceForm(forms.ModelForm):  # type: ignore[type-arg]  # no generic at run time
    """A price, what it is worth, and why that changes."""

    reason = forms.CharField(
        max_length=MAX_REASON,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="Why, in your own words. It stands in the audit log for good.",
    )

    class Meta:
        model = CreditPrice
        fields = ("price_id", "name", "credits")

    def clean_price_id(self) -> str:
        price_id = str(self.cleaned_data["price_id"]).strip()
        rest = price_id.removeprefix("price_")
        if rest == price_id or not (rest.isascii() and rest.isalnum()) or len(price_id) > 255:
            raise forms.ValidationError("A price's id looks like price_1Abc…: copy it from Stripe.")
        return price_id


@admin.register(CreditPrice)
class PriceAdmin(ReadOnlyAdmin):
    """The one table that is edited here: it is a setting of ours, not a fact from Stripe."""

    form = PriceForm
    list_display = ("name_or_id", "price_text", "credits_words", "changed_by", "updated")
    search_fields = ("price_id",)
    search_help_text = "Price or name"
    sortable_by = ("updated",)
    empty_text = (
        "Prices whose metadata at Stripe has lead_credits come by themselves. Without a row"
        " here, a price grants nothing, and what is bought with it is listed as unpriced."
    )
    fieldsets = (
        (None, {"fields": ("price_id", "name", "credits", "reason")}),
        ("Last change", {"fields": ("changed_by", "updated")}),
    )
    readonly_fields = ("changed_by", "updated")

    price_text = cells.text_column("price_id", "Price")
    credits_words = cells.column(lambda row: f"{row.credits:,}", "Credits for one")
    changed_by = cells.text_column("updated_by", "By")
    updated = cells.time_column("updated_at", "Changed")

    @display(description="Name")
    def name_or_id(self, row: CreditPrice) -> str:
        return row.name or row.price_id

    def find(self, rows: QuerySet[CreditPrice], term: str) -> QuerySet[CreditPrice]:
        return rows.filter(Q(price_id=term) | Q(name__icontains=term))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("billing.add_creditprice")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm("billing.change_creditprice")

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Without the reason for those who only look, without the last change of a new row."""
        first, last = self.fieldsets
        if obj is None:
            return (first,)
        if not self.has_change_permission(request, obj):
            fields = [name for name in first[1]["fields"] if name != "reason"]
            return ((None, {"fields": fields}), last)
        return (first, last)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return (*self.readonly_fields, "price_id") if obj else self.readonly_fields

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Saves it as the user who asks, with an audit event that says what it was before."""
        actor = request.user.get_username()
        obj.updated_by = actor
        with transaction.atomic(), acting_as(actor):
            before = CreditPrice.objects.select_for_update().filter(pk=obj.pk).first()
            super().save_model(request, obj, form, change)
            BillingEvent.objects.create(
                type="manual.credit_price",
                payload={
                    "price_id": obj.price_id,
                    "before": _as_json(before),
                    "after": _as_json(obj),
                    "reason": form.cleaned_data["reason"],
                    "admin": actor,
                },
            )
        self.message_user(
            request,
            format_html(
                "Purchases that were made before keep what they got. {} that nothing was granted"
                " for can be synced now.",
                cells.link(cells.changelist_url(Purchase, status="unpriced"), "Unpriced purchases"),
            ),
            messages.INFO,
        )


def _as_json(price: CreditPrice | None) -> dict[str, Any] | None:
    return {"name": price.name, "credits": price.credits} if price else None
