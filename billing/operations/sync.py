"""Bringing our rows to where Stripe is: one object with what belongs to it, or everything."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from billing.gateway.client import Gateway, gateway
from billing.gateway.observation import Observation
from billing.gateway.shapes import id_of, invoice_subscription_id
from billing.models import BillingCustomer, OperationRecord, PaymentReversal
from billing.operations import inputs
from billing.operations.base import Change, InvalidInputError, Operation, Plan, Result
from billing.operations.comparison import Scope, bring_in_for, preview
from billing.permissions import SYNC
from billing.projection.bulk import LISTS, OF_CUSTOMER, SyncReport, sync_everything
from billing.projection.intake import fetch

Kind = Literal["subscription", "customer", "invoice", "payment", "user", "everything"]
PREFIXES: Mapping[str, tuple[str, ...]] = {
    "subscription": ("sub_",),
    "customer": ("cus_",),
    "invoice": ("in_",),
    "payment": ("pi_", "ch_", "py_"),  # an intent, with whatever charges it had, or a charge
}


# Which payments paid an invoice: else a payment whose event never came is one for nothing.
WITH_PAYMENTS = {"expand": ["data.payments"]}


class SyncFromStripe(Operation):
    """Fetches from Stripe and brings the mirror, the billing rows and the credits up to date.

    A subscription comes with its customer, invoices and checkout sessions; an invoice
    with its customer and subscription; a payment, which need not name a customer, with its
    checkout session, refunds and disputes; a customer, and a user's every customer, with
    all that is theirs. Of `everything`, each page is a transaction of its own, and the
    audit event follows the last one; `on_progress` is told a kind and how many of it were
    read.
    """

    name = "sync_from_stripe"
    title = "Sync from Stripe"
    permission = SYNC
    audit_type = "manual.sync"
    target = "id"

    def __init__(
        self,
        *,
        kind: str,
        id: str = "",  # noqa: A002  (the word that operators know)
        on_progress: Callable[[str, int], None] | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        if kind in PREFIXES:
            self.id = inputs.stripe_id(id, *PREFIXES[kind])
        elif kind == "user":
            self.id = inputs.user_id(id)
        elif kind == "everything":
            self.id = ""
        else:
            raise InvalidInputError(f"{kind[:60]} is nothing that can be synced.")
        self.kind = kind
        self.on_progress = on_progress

    @property
    def subject(self) -> str:
        return self.id or self.kind

    def parameters(self) -> dict[str, Any]:
        return {"kind": self.kind, "id": self.id}

    def plan(self) -> Plan:
        if self.kind == "everything":
            kinds = ", ".join(kind for kind, _, _ in LISTS)
            return Plan(
                f"Fetch everything from Stripe, and bring our rows up to date: {kinds}.",
                warnings=["What differs is known only once it was fetched."],
            )
        self.observations = self._collect(gateway())
        changes = preview(self.observations, actor=self.actor.name)
        counts = Counter(item.kind for item in self.observations)
        fetched = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        said = "differs" if changes else "agrees with what we have"
        return Plan(f"Sync {self.kind} {self.id}. Fetched {fetched}: Stripe {said}.", changes)

    def run(self, record: OperationRecord) -> Result:
        if self.kind == "everything":
            report = sync_everything(actor=self.actor.name, on_progress=self._tell)
            with self.committing(record) as commit:
                commit.result = result = of_everything(report)
            return result
        return bring_in_for(self, record, self.observations, self._result)

    def audit_payload(self, result: Result) -> dict[str, Any]:
        return {"kind": self.kind, **result.details}

    def _tell(self, kind: str, read: int) -> None:
        self.report(f"{read:,} objects of type {kind} were read.")
        if self.on_progress:
            self.on_progress(kind, read)

    def _collect(self, stripe: Gateway) -> list[Observation]:
        """What is to be synced, as Stripe has it now. Raises a GatewayError."""
        match self.kind:
            case "subscription":
                found = of_subscription(self.id, stripe)
            case "invoice":
                found = of_invoice(self.id, stripe)
            case "payment":
                found = of_payment(self.id, stripe)
            case "customer":
                found = of_customer(self.id, stripe)
            case _:
                found = (
                    item
                    for customer in customers_of(self.id)
                    for item in of_customer(customer, stripe)
                )
        return list({item.id: item for item in found}.values())

    def _result(self, changes: list[Change]) -> Result:
        scope = Scope.of(self.observations)
        users = BillingCustomer.objects.filter(
            stripe_customer_id__in=scope.customer_ids, user_id__isnull=False
        )
        details: dict[str, Any] = {
            "fetched": dict(Counter(item.kind for item in self.observations)),
            "customer": min(scope.customer_ids, default=None),
            "user_id": users.values_list("user_id", flat=True).first(),
        }
        if self.kind == "subscription":
            details["subscription"] = self.id
        said = f"{len(changes)} changes" if changes else "nothing differed"
        return Result(f"Synced {self.kind} {self.id}: {said}.", changes, details=details)


def of_everything(report: SyncReport) -> Result:
    """The result of a full sync, with its counts."""
    differed = sum(report.changed.values())
    return Result(
        f"Read {sum(report.read.values()):,} objects from Stripe. {differed:,} billing rows"
        f" differed, {report.entries:,} credit entries were posted.",
        details={
            "fetched": report.read,
            "changed": report.changed,
            "credit_entries": report.entries,
            "credits": report.credits,
            "requests": report.api_calls,
        },
    )


def customers_of(user_id: str) -> list[str]:
    """The user's customers at Stripe, as far as we know them. Raises InvalidInputError."""
    found = BillingCustomer.objects.filter(user_id=user_id).order_by("stripe_customer_id")
    customers = list(found.values_list("stripe_customer_id", flat=True))
    if not customers:
        raise InvalidInputError(
            f"No customer of user {user_id} is known here. Find them at Stripe, and sync by the"
            " customer's id."
        )
    return customers


def of_subscription(subscription_id: str, stripe: Gateway) -> Iterator[Observation]:
    """A subscription, its customer, its invoices and what it was bought with."""
    subscription = fetch("subscription", subscription_id, stripe=stripe)
    yield fetch("customer", id_of(subscription.data.get("customer")), stripe=stripe)
    yield subscription
    yield from listed("invoice", {"subscription": subscription_id, **WITH_PAYMENTS}, stripe)
    yield from listed("checkout.session", {"subscription": subscription_id}, stripe)


def of_invoice(invoice_id: str, stripe: Gateway) -> Iterator[Observation]:
    """An invoice, its customer, its subscription and its payments."""
    invoice = fetch("invoice", invoice_id, stripe=stripe)
    if customer := id_of(invoice.data.get("customer")):
        yield fetch("customer", customer, stripe=stripe)
    if subscription := invoice_subscription_id(invoice.data):
        yield fetch("subscription", subscription, stripe=stripe)
    yield invoice
    yield from listed("invoice_payment", {"invoice": invoice_id}, stripe)


def of_customer(customer_id: str, stripe: Gateway) -> Iterator[Observation]:
    """A customer and all that is theirs, refunds and disputes included."""
    yield fetch("customer", customer_id, stripe=stripe)
    charges: list[Observation] = []
    for kind in OF_CUSTOMER:
        with_ = WITH_PAYMENTS if kind == "invoice" else {}
        for item in listed(kind, {"customer": customer_id, **with_}, stripe):
            if kind == "charge":
                charges.append(item)
            yield item
    yield from reversals_of(charges, stripe)


def of_payment(payment_id: str, stripe: Gateway) -> Iterator[Observation]:
    """A payment, by the id of its intent or of a charge, with what was bought and given back."""
    if payment_id.startswith("pi_"):
        intent, charges = payment_id, list(listed("charge", {"payment_intent": payment_id}, stripe))
    else:
        charges = [fetch("charge", payment_id, stripe=stripe)]
        intent = id_of(charges[0].data.get("payment_intent"))
    customers = {id_of(charge.data.get("customer")) for charge in charges} - {""}
    yield from (fetch("customer", customer, stripe=stripe) for customer in sorted(customers))
    if intent:
        yield fetch("payment_intent", intent, stripe=stripe)
        yield from listed("checkout.session", {"payment_intent": intent}, stripe)
    yield from charges
    yield from reversals_of(charges, stripe)


def reversals_of(charges: Sequence[Observation], stripe: Gateway) -> Iterator[Observation]:
    """What was refunded and disputed of these charges."""
    known = set(
        PaymentReversal.objects.filter(charge_id__in=[charge.id for charge in charges]).values_list(
            "charge_id", flat=True
        )
    )
    for charge in charges:
        # A refund that failed is no longer in the charge's sum, so ours count too.
        if charge.data.get("amount_refunded") or charge.id in known:
            yield from listed("refund", {"charge": charge.id}, stripe)
        if charge.data.get("disputed") or charge.id in known:
            yield from listed("dispute", {"charge": charge.id}, stripe)


def listed(kind: str, params: Mapping[str, Any], stripe: Gateway) -> Iterator[Observation]:
    """A whole list of one kind, narrowed by `params`."""
    [(path, always)] = [(path, always) for name, path, always in LISTS if name == kind]
    for page in stripe.pages(path, {**always, **params}):
        yield from page.observations()
