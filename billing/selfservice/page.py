"""What the page of one customer shows, gathered from our own rows: Stripe is not asked."""

from dataclasses import dataclass

from django.db.models import Q, QuerySet
from djstripe.models import Invoice, Price, Product

from billing.diagnosis.examination import examine
from billing.diagnosis.facts import Facts, Person
from billing.diagnosis.findings import Severity
from billing.formatting import format_money
from billing.gateway.shapes import dig, id_of
from billing.models import BillingCustomer, BillingInvoice
from billing.selfservice import words

AT_ONCE = 24  # invoices on one page
MOST_PAGES = 1_000
OVER = ("canceled", "incomplete_expired")


@dataclass(frozen=True, slots=True)
class ShownPlan:
    """A subscription: `price` is '' where the amount is not known."""

    name: str
    price: str
    status: str


@dataclass(frozen=True, slots=True)
class ShownInvoice:
    """An invoice; `view` and `pdf` are addresses of Stripe's pages, or ''."""

    number: str
    day: str
    amount: str
    status: str
    view: str
    pdf: str


@dataclass(frozen=True, slots=True)
class Advice:
    """What is wrong, or worth knowing, and what to do."""

    text: str
    is_grave: bool


@dataclass(frozen=True, slots=True)
class BillingPage:
    """All that the page says. `older` and `newer` are numbers of pages of invoices, 0 for none."""

    who: str
    advice: list[Advice]
    plans: list[ShownPlan]
    credits: int | None
    owed: str
    invoices: list[ShownInvoice]
    number: int
    older: int
    newer: int


def page_of(customer: BillingCustomer, number: int = 1) -> BillingPage:
    """The page of a customer: theirs, and what their user has as another customer.

    `number` says which page of invoices, the newest on the first.
    """
    facts, report = examine(Person.of_customer(customer), ask_stripe=False)
    said: dict[str, bool] = {}
    for finding in report.findings:
        if finding.for_customer:
            said.setdefault(finding.for_customer, finding.severity != Severity.INFO)
    start = (number - 1) * AT_ONCE
    rows = list(invoices_of(facts.person)[start : start + AT_ONCE + 1])
    balance = facts.credits
    return BillingPage(
        who=customer.name or customer.email,
        advice=[Advice(text, is_grave) for text, is_grave in said.items()],
        plans=plans(facts),
        credits=None if facts.user_id is None else balance.balance if balance else 0,
        owed=words.credits_owed(balance.owed if balance else 0),
        invoices=shown_invoices(rows[:AT_ONCE]),
        number=number,
        older=number + 1 if len(rows) > AT_ONCE and number < MOST_PAGES else 0,
        newer=number - 1,
    )


def invoices_of(person: Person) -> QuerySet[BillingInvoice]:
    """The person's invoices that were sent or are to be paid: drafts may still change."""
    theirs = Q(stripe_customer_id__in=person.customer_ids)
    if person.user_id is not None:
        theirs |= Q(user_id=person.user_id)
    return BillingInvoice.objects.filter(theirs).exclude(status="draft")


def plans(facts: Facts) -> list[ShownPlan]:
    """The subscriptions that have not ended; the latest one that did, where all have."""
    live = [row for row in facts.subscriptions if row.status not in OVER]
    rows = live or facts.subscriptions[:1]
    prices = Price.objects.in_bulk({row.price_id for row in rows}, field_name="id")
    data = {price_id: price.stripe_data or {} for price_id, price in prices.items()}
    products = {id_of(each.get("product")) for each in data.values()}
    names = dict(Product.objects.filter(id__in=products).values_list("id", "name"))
    shown = []
    for row in rows:
        price = data.get(row.price_id, {})
        interval, count = (
            dig(price, "recurring", "interval"),
            dig(price, "recurring", "interval_count"),
        )
        name = names.get(id_of(price.get("product"))) or price.get("nickname") or "Subscription"
        shown.append(
            ShownPlan(
                f"{name} × {row.quantity:,}" if row.quantity > 1 else str(name),
                words.price(row, str(interval or ""), count if isinstance(count, int) else 1),
                words.status(row, facts),
            )
        )
    return shown


def shown_invoices(rows: list[BillingInvoice]) -> list[ShownInvoice]:
    mirrored = Invoice.objects.filter(id__in=[row.stripe_invoice_id for row in rows])
    pdfs = dict(mirrored.values_list("id", "stripe_data__invoice_pdf"))
    return [
        ShownInvoice(
            row.number or "No number",
            words.day(row.created_at),
            format_money(row.total, row.currency),
            words.invoice_status(row),
            words.safe_link(row.hosted_invoice_url),
            words.safe_link(pdfs.get(row.stripe_invoice_id)),
        )
        for row in rows
    ]
