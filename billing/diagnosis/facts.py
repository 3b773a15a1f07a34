"""What is known here of a person: the rows that checks, pages and scripts read.

Read once, with a constant number of statements, newest first and bounded. Checks are pure
functions of it, so that one customer's page and a reconciliation of all run the same ones.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, TypeVar

from django.db.models import (
    Count,
    Exists,
    Expression,
    F,
    Func,
    Model,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    TextField,
    Value,
)
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, Coalesce, Concat, Upper
from django.utils import timezone
from djstripe.models import Charge

from billing.database import cursor
from billing.diagnosis.at_stripe import AtStripe
from billing.models import (
    BillingCustomer,
    BillingEvent,
    BillingInvoice,
    BillingPayment,
    BillingSubscription,
    CreditEntry,
    CreditPrice,
    InboxEvent,
    InvoicePayment,
    LeadClaim,
    LeadCredits,
    OperationRecord,
    PaymentReversal,
    Purchase,
    StatusOverride,
)
from billing.projection.settlement import grant_sources, reversal_sources

Row = TypeVar("Row", bound=Model)

MOST = 200  # rows of one table that a person's facts hold, the newest
SQL_SINCE = timedelta(days=30)  # how far back changes by raw SQL are shown
AT_ABOUT = timedelta(minutes=5)  # how far from a claim its debit is looked for
GRANTED_FOR = ("checkout:", "invoice:")  # what the sources of grants begin with
DEBITS = (CreditEntry.Kind.CLAIM, CreditEntry.Kind.SQL)
UNDONE = (InboxEvent.Status.PENDING, InboxEvent.Status.FAILED, InboxEvent.Status.DEAD)


@dataclass(frozen=True, slots=True)
class Person:
    """Whom facts are about: a user of ours with all their Stripe customers, or one of them alone.

    `user_id` is None for a customer of whom nobody knows the user; `customer_ids` is empty for
    a user without a customer. `rows` are the customers as they were just read, if they were.
    """

    user_id: str | None
    customer_ids: tuple[str, ...]
    rows: tuple[BillingCustomer, ...] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of_customer(cls, customer: BillingCustomer) -> "Person":
        """The customer, with the others of the same user."""
        if customer.user_id is None:
            return cls(None, (customer.stripe_customer_id,), (customer,))
        return cls.of_user(customer.user_id)

    @classmethod
    def of_user(cls, user_id: str) -> "Person":
        found = BillingCustomer.objects.filter(user_id=user_id).order_by("created_at", "id")
        rows = tuple(found[:MOST])
        return cls(user_id, tuple(row.stripe_customer_id for row in rows), rows)


@dataclass(slots=True)
class Facts:
    """One person's rows, the newest first, and what Stripe said where it was asked (`stripe`).

    - `perhaps_theirs` are purchases of nobody, whose buyer typed one of their addresses.
    - `entries` are the ledger's but for debits of claims and their return, `sourced` those of
      the purchases and reversals by their sources, `ledger` is (sum of deltas, sum of owed
      deltas) over all of it, `stray_debits` are recent debits by raw SQL that no claim explains,
      and `unbought` the ids of purchases that entries name and that are not here.
    - `refused_claims` has the newest that failed for want of credits, `debited_claims` those
      whose credits were taken and not given back.
    - `undelivered` are the inbox's events that are neither processed nor in need of nothing;
      `about` all of its events about one object, the newest first.
    - `received` are the inbox's events among those that Stripe lists, by their ids; `unlisted`
      those that Stripe says it does not know.
    - `operations` are applied ones on the person or on anything of theirs.
    - `worth` is the credits of each price that is mapped, and `price_names` what it is called.
    - `hinted_user` is the one other user with the same email, for a person of whom nobody knows
      the user: a hint for people, no key.
    """

    person: Person
    now: datetime
    customers: list[BillingCustomer] = field(default_factory=list)
    subscriptions: list[BillingSubscription] = field(default_factory=list)
    invoices: list[BillingInvoice] = field(default_factory=list)
    payments: list[BillingPayment] = field(default_factory=list)
    invoice_of: dict[str, str] = field(default_factory=dict)  # payment intent -> invoice
    bought_with: set[str] = field(default_factory=set)  # payment intents of purchases
    authorised: set[str] = field(default_factory=set)  # charges of which nothing was taken yet
    purchases: list[Purchase] = field(default_factory=list)
    perhaps_theirs: list[Purchase] = field(default_factory=list)
    reversals: list[PaymentReversal] = field(default_factory=list)
    entries: list[CreditEntry] = field(default_factory=list)
    sourced: dict[str, CreditEntry] = field(default_factory=dict)
    stray_debits: list[CreditEntry] = field(default_factory=list)
    unbought: set[str] = field(default_factory=set)
    credits: LeadCredits | None = None
    ledger: tuple[int, int] = (0, 0)
    refused_claims: list[LeadClaim] = field(default_factory=list)
    debited_claims: list[LeadClaim] = field(default_factory=list)
    undelivered: list[InboxEvent] = field(default_factory=list)
    about: dict[str, list[InboxEvent]] = field(default_factory=dict)
    received: dict[str, InboxEvent] = field(default_factory=dict)
    unlisted: list[InboxEvent] = field(default_factory=list)
    overrides: list[StatusOverride] = field(default_factory=list)
    sql_events: list[BillingEvent] = field(default_factory=list)
    operations: list[OperationRecord] = field(default_factory=list)
    worth: dict[str, int] = field(default_factory=dict)
    price_names: dict[str, str] = field(default_factory=dict)
    hinted_user: str = ""
    stripe: AtStripe | None = None

    @property
    def user_id(self) -> str | None:
        return self.person.user_id

    def status_of(self, row: BillingSubscription | BillingInvoice) -> str:
        """Its status: Stripe's word where it was asked, else ours."""
        kind, key = (
            ("invoice", row.stripe_invoice_id)
            if isinstance(row, BillingInvoice)
            else ("subscription", row.stripe_subscription_id)
        )
        data = self.stripe.of(kind).get(key) if self.stripe else None
        return str(data.get("status")) if data else row.status

    @property
    def emails(self) -> list[str]:
        """The addresses that Stripe has of them, or that they typed, the newest first."""
        typed = [row.email for row in self.customers] + [row.email for row in self.purchases]
        return list(dict.fromkeys(email for email in typed if email))

    @property
    def object_ids(self) -> set[str]:
        """Stripe ids of everything of the person's that has a row here."""
        return {
            *self.person.customer_ids,
            *(row.stripe_subscription_id for row in self.subscriptions),
            *(row.stripe_invoice_id for row in self.invoices),
            *(row.source for row in self.purchases),
            *(row.stripe_charge_id for row in self.payments),
        }


def gather(person: Person, *, now: datetime | None = None, about: Sequence[str] = ()) -> Facts:
    """Everything known here of one person, in a constant number of statements.

    `about` adds rows, and events about objects, that are nobody's, by their Stripe ids.
    """
    facts = Facts(person, now or timezone.now())
    ids, user = list(person.customer_ids), person.user_id
    theirs = Q(stripe_customer_id__in=ids)
    owned = theirs | Q(user_id=user) if user is not None else theirs
    facts.customers = (
        list(BillingCustomer.objects.filter(theirs))
        if person.rows is None
        else list(reversed(person.rows))
    )
    facts.subscriptions = _newest(BillingSubscription, owned, stripe_subscription_id__in=about)
    facts.invoices = _newest(BillingInvoice, owned, stripe_invoice_id__in=about)
    periods = [row.latest_invoice_id for row in facts.subscriptions if row.latest_invoice_id]
    facts.purchases = _newest(Purchase, owned, source__in=[*about, *periods])
    _add_payments(facts, about)
    if user is not None:
        facts.perhaps_theirs = _with_same_email(facts)
        _add_credits(facts, user)
    _add_events(facts, about)
    _add_changes_by_hand(facts)
    if user is None:
        facts.hinted_user = _user_with_same_email(facts)
    for price in CreditPrice.objects.all():
        facts.worth[price.price_id] = price.credits
        facts.price_names[price.price_id] = price.name
    return facts


def _newest(model: type[Row], theirs: Q, **named: Sequence[str]) -> list[Row]:
    """The newest rows that are theirs, with those that are named, however old."""
    [ids] = named.values()
    rows = model._default_manager
    found = list(rows.filter(theirs | Q(**named) if ids else theirs)[:MOST])
    if ids and len(found) == MOST:
        kept = {row.pk for row in found}
        found += [row for row in rows.filter(**named)[:MOST] if row.pk not in kept]
    return found


def _user_with_same_email(facts: Facts) -> str:
    emails = {email.upper() for email in facts.emails}
    others = BillingCustomer.objects.alias(upper=Upper("email")).filter(upper__in=emails)
    users = set(others.exclude(user_id=None).values_list("user_id", flat=True)[:MOST])
    return str(users.pop()) if len(users) == 1 else ""


def _with_same_email(facts: Facts) -> list[Purchase]:
    """What nobody is known to have bought, with an address of theirs: a hint, and no proof."""
    emails = {email.upper() for email in facts.emails}
    nobodys = Purchase.objects.filter(status=Purchase.Status.UNATTRIBUTED, user_id=None)
    return list(nobodys.alias(upper=Upper("email")).filter(upper__in=emails)[:MOST])


def _add_payments(facts: Facts, about: Sequence[str]) -> None:
    intents = {p.payment_intent_id for p in facts.purchases if p.payment_intent_id}
    theirs = Q(stripe_customer_id__in=facts.person.customer_ids)
    theirs |= Q(payment_intent_id__in=intents)
    facts.payments = _newest(BillingPayment, theirs, stripe_charge_id__in=about)
    intents |= {p.payment_intent_id for p in facts.payments if p.payment_intent_id}
    pairs = InvoicePayment.objects.filter(payment_intent_id__in=intents)
    facts.invoice_of = dict(pairs.values_list("payment_intent_id", "stripe_invoice_id"))
    made = Q(payment_intent_id__in=intents)
    facts.reversals = _newest(PaymentReversal, made, stripe_id__in=about)


def _add_credits(facts: Facts, user: str) -> None:
    facts.credits, facts.ledger = _books(user)
    entries = CreditEntry.objects.filter(user_id=user)
    sources = {source for bought in facts.purchases for source in grant_sources(bought)}
    sources |= {source for made in facts.reversals for source in reversal_sources(made)}
    found = _entries_of(
        not_for_claims=_not_for_claims(user, entries)[:MOST],
        sourced=CreditEntry.objects.filter(source__in=sources),
        stray=_stray_debits(facts, user, entries)[:MOST],
    )
    facts.entries, facts.stray_debits = found["not_for_claims"], found["stray"]
    facts.sourced = {str(entry.source): entry for entry in found["sourced"]}
    granted = [entry for entry in found["not_for_claims"] if entry.source and not entry.is_bought]
    facts.unbought = {
        entry.source.split(":")[1] for entry in granted if entry.source.startswith(GRANTED_FOR)
    }
    _add_claims(facts, user, entries)


def _entries_of(**wanted: QuerySet[CreditEntry]) -> dict[str, list[Any]]:
    """Several selections of entries by their names, each newest first, in one statement.

    Each entry says whether the purchase that its source names is here (`is_bought`).
    """
    named = Func(OuterRef("source"), Value(":"), Value(2), function="split_part")
    is_bought = Exists(Purchase.objects.filter(source=named))
    first, *others = (
        rows.annotate(part=Value(name), is_bought=is_bought) for name, rows in wanted.items()
    )
    found: dict[str, list[Any]] = {name: [] for name in wanted}
    for entry in sorted(first.union(*others, all=True), key=attrgetter("pk"), reverse=True):
        found[entry.part].append(entry)
    return found


def _not_for_claims(user: str, entries: QuerySet[CreditEntry]) -> QuerySet[CreditEntry]:
    """Entries but for debits of claims, and for the return of those that failed."""
    debits = Q(kind=CreditEntry.Kind.CLAIM) | Q(kind=CreditEntry.Kind.SQL, delta__lt=0)
    returned = LeadClaim.objects.filter(
        user_id=user,
        status=LeadClaim.Status.FAILED,
        credits_spent=OuterRef("delta"),
        claimed_at__range=_at_about("created_at"),
    )
    returns = Q(kind=CreditEntry.Kind.SQL, delta__gt=0) & Q(Exists(returned))
    return entries.exclude(debits).exclude(returns)


def _stray_debits(facts: Facts, user: str, entries: QuerySet[CreditEntry]) -> QuerySet[CreditEntry]:
    """Recent debits by raw SQL that no claim explains."""
    claimed = LeadClaim.objects.filter(
        user_id=user,
        credits_spent=-1 * OuterRef("delta"),
        claimed_at__range=_at_about("created_at"),
    )
    by_sql = entries.filter(kind=CreditEntry.Kind.SQL, delta__lt=0)
    return by_sql.filter(~Exists(claimed), created_at__gte=facts.now - SQL_SINCE)


def _at_about(moment: str) -> tuple[Any, Any]:
    """From shortly before to shortly after a moment of the outer row."""
    return OuterRef(moment) - AT_ABOUT, OuterRef(moment) + AT_ABOUT


def _books(user: str) -> tuple[LeadCredits | None, tuple[int, int]]:
    """A user's balance, and what the entries add up to: both of the same moment."""
    with cursor() as bound:
        bound.execute(
            "SELECT c.user_id, c.balance, c.owed, c.updated_at, s.balance, s.owed"
            " FROM (SELECT coalesce(sum(delta), 0)::bigint AS balance,"
            " coalesce(sum(owed_delta), 0)::bigint AS owed"
            " FROM credit_entries WHERE user_id = %s) s"
            " LEFT JOIN lead_credits c ON c.user_id = %s",
            [user, user],
        )
        user_id, balance, owed, updated_at, *ledger = bound.fetchone()
    held = LeadCredits(user_id=user, balance=balance, owed=owed, updated_at=updated_at)
    return (held if user_id else None), (ledger[0], ledger[1])


def _add_claims(facts: Facts, user: str, entries: QuerySet[CreditEntry]) -> None:
    """Both kinds of claims that failed, by one statement."""
    failed = LeadClaim.objects.filter(user_id=user, status=LeadClaim.Status.FAILED)
    around = _around_a_claim(user, entries)
    refused = failed.filter(failure_reason__icontains="insufficient")
    debited = (
        failed.filter(credits_spent__gt=0)
        .alias(taken=around["taken"], back=around["back"], others=around["others"])
        .filter(taken__gt=F("back") + F("others"))
        .exclude(Exists(entries.filter(source=_claim_source(OuterRef("pk")))))
    )
    found: QuerySet[Any] = refused.annotate(part=Value("refused"))[:1].union(
        debited.annotate(part=Value("debited"))[:MOST], all=True
    )
    newest = sorted(found, key=attrgetter("claimed_at", "pk"), reverse=True)
    facts.refused_claims = [claim for claim in newest if claim.part == "refused"]
    facts.debited_claims = [claim for claim in newest if claim.part == "debited"]


def _around_a_claim(user: str, entries: QuerySet[CreditEntry]) -> dict[str, Expression]:
    """Within minutes of a claim, over as many credits: how many debits and how many returns
    there were, and how many other claims that a debit was meant for, or that have theirs back."""
    span = _at_about("claimed_at")
    about = entries.filter(created_at__range=span)
    spent = OuterRef("credits_spent")
    mended = CreditEntry.objects.filter(source=_claim_source(OuterRef("pk")))
    others = LeadClaim.objects.filter(
        Q(status=LeadClaim.Status.SUCCEEDED) | Q(Exists(mended)),
        user_id=user,
        credits_spent=spent,
        claimed_at__range=span,
    )
    return {
        "taken": _counted(about.filter(kind__in=DEBITS, delta=-1 * spent)),
        "back": _counted(about.filter(source=None, delta=spent)),
        "others": _counted(others),
    }


def _claim_source(claim: OuterRef) -> Concat:
    """The source of the entry with which an operator gave a claim's credits back."""
    return Concat(Value("claim:"), Cast(claim, TextField()))


def _counted(rows: QuerySet[Any]) -> Expression:
    """The number of these rows, as a subquery."""
    counted = rows.order_by().values("user_id").annotate(number=Count("pk")).values("number")
    return Coalesce(Subquery(counted), 0)


def _add_events(facts: Facts, about: Sequence[str]) -> None:
    waiting = (*UNDONE, InboxEvent.Status.SET_ASIDE)
    ids = facts.person.customer_ids
    events = InboxEvent.objects.defer("body")
    mine = Q(customer_id__in=ids) | Q(object_id__in={*facts.object_ids, *about})
    facts.undelivered = list(events.filter(mine, status__in=waiting)[:MOST])


def _add_changes_by_hand(facts: Facts) -> None:
    subscriptions = [row.stripe_subscription_id for row in facts.subscriptions]
    in_force = StatusOverride.objects.filter(ended_at=None)
    facts.overrides = list(in_force.filter(stripe_subscription_id__in=subscriptions))
    named = BillingEvent.objects.alias(
        user=KT("payload__user_id"),
        customer=KT("payload__customer"),
        of=KT("payload__subscription"),
    )
    whose = Q(customer__in=facts.person.customer_ids) | Q(of__in=subscriptions)
    if facts.user_id:
        whose |= Q(user=facts.user_id)
    recent = named.filter(whose, created_at__gte=facts.now - SQL_SINCE)
    facts.sql_events = list(recent.filter(type__startswith="sql.")[:MOST])
    subjects = facts.object_ids | ({facts.user_id} if facts.user_id else set())
    applied = OperationRecord.objects.filter(status=OperationRecord.Status.APPLIED)
    facts.operations = list(applied.filter(subject__in=subjects)[:MOST])


def read_uses(facts: Facts) -> None:
    """Adds what payments were for (`bought_with`), and which took nothing yet (`authorised`): for
    the checks of the books alone."""
    intents = [row.payment_intent_id for row in facts.payments if row.payment_intent_id]
    bought = Purchase.objects.filter(payment_intent_id__in=intents)
    facts.bought_with = set(bought.values_list("payment_intent_id", flat=True))
    charges = [row.stripe_charge_id for row in facts.payments]
    held = Charge.objects.filter(id__in=charges, stripe_data__captured=False)
    facts.authorised = set(held.values_list("id", flat=True))


def read_received(facts: Facts) -> None:
    """Adds what became of the events that Stripe lists and that came here (`received`)."""
    listed = (
        {event["id"] for events in facts.stripe.events.values() for event in events}
        if (facts.stripe)
        else set()
    )
    rows = InboxEvent.objects.defer("body").filter(stripe_event_id__in=listed)
    facts.received = {row.stripe_event_id: row for row in rows}


def read_about(facts: Facts, object_ids: Iterable[str]) -> None:
    """Adds the inbox's events about these objects, the newest first (`about`)."""
    for event in (
        InboxEvent.objects.defer("body")
        .filter(object_id__in=list(object_ids))
        .order_by("-stripe_created_at", "-id")[:MOST]
    ):
        facts.about.setdefault(event.object_id, []).append(event)
