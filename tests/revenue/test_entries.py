"""The balance as Stripe tells it, and the entries of revenue derived from it."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Sum
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from backoffice.drill.books import Stripe
from billing.models import (
    BalanceTransaction,
    BillingInvoice,
    BillingPayment,
    InvoicePayment,
    Purchase,
    RevenueEntry,
    acting_as,
)
from billing.projection.balance_sync import read_up_to, sync
from billing.revenue import entries
from billing.revenue.splitting import netted, share
from tests.operations.shop import Shop
from tests.revenue.conftest import Market
from tests.revenue.test_bridge import mirror
from tests.sandbox.server import SandboxProcess

pytestmark = pytest.mark.django_db

MEASURES = ("amount", "fee", "settled_amount", "settled_fee", "tax")
RATES = {"usd": (Decimal(1), 2), "eur": (Decimal("1.08"), 2), "jpy": (Decimal("0.0067"), 0)}
ITEMS = {
    "charge": "gross", "refund": "refunds", "refund_failure": "refunds",
    "dispute": "disputes", "dispute_reversal": "disputes",
}  # fmt: skip


def derived(market: Market) -> list[RevenueEntry]:
    """Reads the balance and derives the entries, the oldest first."""
    sync(actor="test")
    entries.refresh()
    return list(RevenueEntry.objects.order_by("at", "source", "line"))


def worked_out(stripe: Stripe) -> Counter[tuple[str, str, str]]:
    """What each currency's entries come to on each day, from the sandbox's objects alone."""
    objects = {
        made["id"]: made for path in ("charges", "refunds", "disputes") for made in stripe.all(path)
    }
    sums: Counter[tuple[str, str, str]] = Counter()
    for booked in stripe.all("balance_transactions"):
        moved = objects[booked["source"]]
        currency, item = moved["currency"], ITEMS[booked["reporting_category"]]
        rate, digits = RATES[currency]
        fee = Decimal(booked["fee"]) / rate * Decimal(10) ** (digits - 2)
        day = datetime.fromtimestamp(booked["created"], UTC).date().isoformat()
        amount = moved["amount"] if booked["amount"] > 0 else -moved["amount"]
        sums[day, currency, item] += amount
        sums[day, currency, "fees"] += int(fee.quantize(Decimal(1), ROUND_HALF_UP))
        sums[day, booked["currency"], "settled"] += booked["amount"]
        sums[day, booked["currency"], "settled fees"] += booked["fee"]
    return Counter({key: value for key, value in sums.items() if value})


def summed(rows: list[RevenueEntry]) -> Counter[tuple[str, str, str]]:
    sums: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        day = row.at.astimezone(UTC).date().isoformat()
        sums[day, row.currency, row.item] += row.amount
        sums[day, row.currency, "fees"] += row.fee
        sums[day, row.settled_currency, "settled"] += row.settled_amount
        sums[day, row.settled_currency, "settled fees"] += row.settled_fee
    return Counter({key: value for key, value in sums.items() if value})


def test_the_entries_are_what_stripes_own_objects_say(books: Market) -> None:
    """Packs, a period, refunds (one failed), disputes (one won), euros, yen, a bank debit."""
    rows = derived(books)
    expected = worked_out(Stripe(books.sandbox))
    paid_at = BillingInvoice.objects.get(stripe_invoice_id=books.ids["elsewhere"]).paid_at
    assert paid_at
    expected[paid_at.date().isoformat(), "usd", "out_of_band"] += 5100
    assert summed(rows) == expected
    assert {(row.item, row.kind) for row in rows} == {
        ("gross", "pack"), ("gross", "subscription"), ("gross", "other"), ("refunds", "pack"),
        ("refunds", "other"), ("disputes", "pack"), ("out_of_band", "other"),
    }  # fmt: skip

    by_user = {row.user_id: row for row in rows if row.item == "gross"}
    assert (by_user["u_after"].price_id, by_user["u_after"].amount) == (books.shop.pack, 9000)
    yen = by_user["u_ken"]
    assert (yen.currency, yen.amount, yen.settled_amount) == ("jpy", 15000, 10050)
    assert yen.fee == round(yen.settled_fee / 100 / 0.0067)
    assert all(row.product_id.startswith("prod_") for row in rows if row.kind == "pack")
    assert {row.country for row in rows if row.item == "refunds"} == {"US"}
    period = next(row for row in rows if row.kind == "subscription")
    assert (period.price_id, period.user_id) == (books.shop.plan, "u_ada")
    assert (period.customer_id[:4], period.invoice_id[:3]) == ("cus_", "in_")

    up_to = read_up_to()
    assert up_to
    assert abs(up_to - books.now()) < timedelta(minutes=1)
    assert (sync(actor="test").transactions, entries.refresh()) == (0, 0)
    assert sync(actor="test", since=books.since).changed == 0
    assert entries.rebuild() == 0
    assert list(entries.check()) == []


def test_what_comes_later_is_put_where_it_belongs(books: Market) -> None:
    """The books are behind the balance: what a charge was for is not here yet."""
    wanted = {row.source: row.kind for row in derived(books)}
    before = list(RevenueEntry.objects.order_by("source", "line").values())
    pack = Purchase.objects.get(user_id="u_after")
    period = BillingInvoice.objects.get(billing_reason="subscription_create")
    link = InvoicePayment.objects.get(stripe_invoice_id=period.stripe_invoice_id)
    payment = BillingPayment.objects.get(payment_intent_id=pack.payment_intent_id)
    with acting_as("test"):
        pack.delete()
        link.delete()
        payment.delete()
    assert entries.rebuild() == 3  # two of nothing known, and one paid by nothing
    unknown = RevenueEntry.objects.filter(charge_id=payment.stripe_charge_id).get()
    assert (unknown.kind, unknown.user_id, unknown.price_id) == ("other", "", "")
    assert RevenueEntry.objects.get(source=period.stripe_invoice_id).item == "out_of_band"

    with acting_as("test"):
        for lost in (pack, link, payment):
            lost.save(force_insert=True)
    assert entries.refresh() == 3
    after = RevenueEntry.objects.order_by("source", "line").values()
    assert [row | {"id": 0} for row in after] == [row | {"id": 0} for row in before]
    assert {row.source: row.kind for row in RevenueEntry.objects.all()} == wanted


def test_a_charge_is_split_over_its_lines(sandbox: SandboxProcess) -> None:
    """And so are its refunds; its tax by the lines' own taxes, in both of Stripe's shapes."""
    shop = Shop(sandbox)
    client: Any = sandbox.stripe.v1
    second = shop._price(1000, 5, recurring={"interval": "month"})
    vat = client.tax_rates.create({"display_name": "VAT", "percentage": 19, "inclusive": False})
    subscribed = shop.subscribe()
    client.subscriptions.update(
        subscribed["subscription"],
        {"items": [{"price": second, "quantity": 3}], "proration_behavior": "none",
         "default_tax_rates": [vat.id]},
    )  # fmt: skip
    invoice = sandbox.story("renew", subscription=subscribed["subscription"])["invoice"]
    shop.deliver()
    intent = InvoicePayment.objects.get(stripe_invoice_id=invoice).payment_intent_id
    charge = BillingPayment.objects.get(payment_intent_id=intent).stripe_charge_id
    sandbox.story("refund", charge=charge, amount=1000)
    shop.deliver()
    sync(actor="test")
    entries.refresh()
    found = {
        (row.item, row.price_id): (row.amount, row.settled_amount, row.fee, row.tax)
        for row in RevenueEntry.objects.filter(invoice_id=invoice)
    }
    assert found == {
        ("gross", shop.plan): (3451, 3451, 115, 551),
        ("gross", second): (3570, 3570, 119, 570),
        ("refunds", shop.plan): (-492, -492, 0, 0),
        ("refunds", second): (-508, -508, 0, 0),
    }

    old = [{"amount": 9000, "price": {"id": shop.plan, "product": "prod_1"},
            "tax_amounts": [{"amount": 1121}]},
           {"amount": -3100, "plan": {"id": second}, "price": None}]  # fmt: skip
    mirror(invoice, total_taxes=None, total_tax_amounts=[{"amount": 1121}], lines={"data": old})
    entries.rebuild()
    [gross] = RevenueEntry.objects.filter(invoice_id=invoice, item="gross")
    assert (gross.price_id, gross.amount, gross.tax) == (shop.plan, 7021, 1121)
    mirror(invoice, lines={"data": [{"amount": 10}, {"amount": -10}]})
    entries.rebuild()
    [gross] = RevenueEntry.objects.filter(invoice_id=invoice, item="gross")
    assert (gross.price_id, gross.line, gross.amount) == ("", 0, 7021)


def test_a_pack_of_several_prices_is_split_by_them(books: Market) -> None:
    sync(actor="test")
    pack = Purchase.objects.get(user_id="u_after")
    line = pack.lines[0]
    Purchase.objects.filter(pk=pack.pk).update(
        lines=[line | {"quantity": 1}, line | {"price": books.shop.plan, "quantity": 2}]
    )
    entries.refresh()
    rows = RevenueEntry.objects.filter(user_id="u_after").order_by("line")
    # 4500 and 2 * 2900 are what 9000 is split by.
    assert [(row.line, row.price_id, row.amount) for row in rows] == [
        (0, books.shop.pack, 3932), (1, books.shop.plan, 5068),
    ]  # fmt: skip
    assert sum(row.settled_fee for row in rows) == 291


def test_the_check_finds_what_was_changed(books: Market) -> None:
    derived(books)
    said = StringIO()
    call_command("finance_facts", "check", "--family", "revenue", stdout=said)
    assert said.getvalue() == "revenue: 0 differences.\n"
    changed, gone, *_ = RevenueEntry.objects.filter(item="gross").order_by("-at")
    RevenueEntry.objects.filter(pk=changed.pk).update(amount=changed.amount + 1)
    gone.delete()
    RevenueEntry.objects.create(
        source="txn_madeUp", line=0, at=changed.at, item="gross", currency="usd", amount=1, fee=0,
        settled_currency="usd", settled_amount=1, settled_fee=0, tax=0, kind="pack",
    )  # fmt: skip
    said = StringIO()
    with pytest.raises(CommandError) as ended:
        call_command("finance_facts", "check", "--json", stdout=said)
    assert ended.value.returncode == 1
    found = {d["fact"]: d for d in json.loads(said.getvalue())["families"]["revenue"]["first"]}
    assert set(found) == {f"{changed.source}:0", f"{gone.source}:0", "txn_madeUp:0"}
    assert found[f"{changed.source}:0"]["here"]["amount"] == changed.amount + 1
    assert found[f"{changed.source}:0"]["derived"]["amount"] == changed.amount
    assert (found[f"{gone.source}:0"]["here"], found["txn_madeUp:0"]["derived"]) == (None, None)
    call_command("finance_facts", "rebuild", stdout=(rebuilt := StringIO()))
    assert "revenue: 3 rows changed." in rebuilt.getvalue()
    assert list(entries.check()) == []


def test_the_command_says_what_was_read(books: Market) -> None:
    said = StringIO()
    call_command("sync_balance", "--json", stdout=said)
    answer = json.loads(said.getvalue())
    count = BalanceTransaction.objects.count()
    assert (answer["transactions"], answer["entries_changed"]) == (count, count + 1)
    call_command("sync_balance", "--since", books.since.isoformat(), stdout=(again := StringIO()))
    assert "0 rows and 0 entries of revenue changed" in again.getvalue()
    net = BalanceTransaction.objects.aggregate(net=Sum("net"))["net"]
    derived_net = RevenueEntry.objects.aggregate(net=Sum("settled_amount") - Sum("settled_fee"))
    assert derived_net["net"] == net


weights = st.lists(st.integers(1, 10**9), min_size=1, max_size=12)


@given(amount=st.integers(-(10**12), 10**12), given_=weights)
@limits(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_shares_add_up_and_are_next_to_their_proportion(amount: int, given_: list[int]) -> None:
    rows = [{"line": line, "weight": weight} for line, weight in enumerate(given_)]
    total = sum(given_)
    part = share("%s::bigint", "weight", str(total), of="true", by="line")
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {part} FROM json_to_recordset(%s) AS x(line int, weight bigint)"  # noqa: S608
            " ORDER BY line",
            [amount] * part.count("%s") + [json.dumps(rows)],
        )
        shares = [row[0] for row in cursor.fetchall()]
    assert sum(shares) == amount
    assert all(
        abs(part * total - amount * weight) < total
        for part, weight in zip(shares, given_, strict=True)
    )


@given(amounts=st.lists(st.integers(-1000, 1000), max_size=10))
@limits(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_negative_is_taken_off_the_largest(amounts: list[int]) -> None:
    rows = [{"position": n, "amount": amount} for n, amount in enumerate(amounts)]
    source = "json_to_recordset(%s) AS x(position int, amount bigint)"
    with connection.cursor() as cursor:
        sql = f"SELECT weight, amount FROM ({netted(source)}) n"  # noqa: S608
        cursor.execute(sql, [json.dumps(rows)])
        kept = cursor.fetchall()
    assert sum(weight for weight, _ in kept) == max(sum(amounts), 0)
    assert all(0 < weight <= amount for weight, amount in kept)
