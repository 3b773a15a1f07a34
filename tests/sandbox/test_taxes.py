"""Tax rates, and the tax on invoices and what is charged for them."""

from typing import Any

import pytest

from backoffice.sandbox.lifecycle import taxes
from tests.sandbox.server import SandboxProcess
from tests.sandbox.storefront import Storefront
from tests.sandbox.typing_of import resource_problems

ACACIA = "2025-02-24.acacia"


def rate(percentage: float, *, inclusive: bool, id: str = "txr_1") -> Any:  # noqa: A002
    """As much of a tax rate as the calculation reads."""
    return {"id": id, "percentage": percentage, "inclusive": inclusive}


@pytest.mark.parametrize(
    ("amount", "rates", "expected"),
    [
        (2900, [rate(19, inclusive=False)], [(551, 2900)]),
        (2900, [rate(19, inclusive=True)], [(463, 2437)]),
        (-1450, [rate(19, inclusive=False)], [(-276, -1450)]),
        (-1450, [rate(19, inclusive=True)], [(-232, -1218)]),
        (50, [rate(8.875, inclusive=False)], [(4, 50)]),
        (0, [rate(19, inclusive=False)], [(0, 0)]),
        (999, [rate(5, inclusive=True), rate(9.975, inclusive=True)], [(43, 869), (87, 869)]),
        (1000, [rate(10, inclusive=True), rate(5, inclusive=False)], [(91, 909), (45, 909)]),
    ],
)
def test_tax_is_rounded_on_each_line(
    amount: int, rates: list[Any], expected: list[tuple[int, int]]
) -> None:
    found = taxes.on(amount, rates)
    assert [(tax["amount"], tax["taxable_amount"]) for tax in found] == expected


@pytest.fixture(scope="module")
def shop(shared: SandboxProcess) -> Storefront:
    return Storefront(shared)


def tax_rate(shop: Storefront, percentage: float = 19, *, inclusive: bool = False) -> str:
    """A new tax rate."""
    made = shop.post(
        "/v1/tax_rates",
        display_name="VAT",
        percentage=percentage,
        inclusive=str(inclusive).lower(),
        country="DE",
    )
    assert resource_problems(made) == []
    return str(made["id"])


def latest_invoice(shop: Storefront, subscription: str, **headers: str) -> Any:
    """The newest invoice of a subscription."""
    id_ = shop.get(f"/v1/subscriptions/{subscription}")["latest_invoice"]
    answer = shop.sandbox.request("GET", f"/v1/invoices/{id_}", headers=headers)
    return answer.raise_for_status().json()


def test_tax_rates_are_listed_changed_and_retired(shop: Storefront) -> None:
    on_top, inside = tax_rate(shop), tax_rate(shop, inclusive=True)
    assert shop.get("/v1/tax_rates", inclusive="true")["data"][0]["id"] == inside
    changed = shop.post(f"/v1/tax_rates/{on_top}", active="false", **{"metadata[a]": "b"})
    assert (changed["active"], changed["metadata"]) == (False, {"a": "b"})
    assert on_top not in {one["id"] for one in shop.get("/v1/tax_rates", active="true")["data"]}
    wrong = {"default_tax_rates[0]": on_top, "customer": shop.customer()}
    refused = shop.sandbox.post("/v1/invoices", wrong)
    assert refused.status_code == 400
    assert "inactive" in refused.json()["error"]["message"]
    wrong = {"display_name": "VAT", "percentage": "101", "inclusive": "true"}
    assert shop.sandbox.post("/v1/tax_rates", wrong).status_code == 400


@pytest.mark.parametrize(
    ("inclusive", "amounts"),
    [
        (False, {"subtotal": 2900, "subtotal_excluding_tax": 2900, "total": 3451}),
        (True, {"subtotal": 2900, "subtotal_excluding_tax": 2437, "total": 2900}),
    ],
)
def test_a_subscriptions_tax_is_billed_and_charged(
    shop: Storefront, inclusive: bool, amounts: dict[str, int]
) -> None:
    vat = tax_rate(shop, inclusive=inclusive)
    made = shop.post(
        "/v1/subscriptions",
        customer=shop.customer(),
        **{"items[0][price]": shop.plan, "default_tax_rates[0]": vat},
    )
    assert [one["id"] for one in made["default_tax_rates"]] == [vat]
    shop.sandbox.story("renew", subscription=made["id"])
    invoice = latest_invoice(shop, made["id"])
    assert resource_problems(invoice) == []
    assert {name: invoice[name] for name in amounts} == amounts
    net = amounts["subtotal_excluding_tax"]
    tax = amounts["total"] - net
    assert invoice["total_excluding_tax"] == net
    assert invoice["amount_due"] == invoice["amount_paid"] == amounts["total"]
    assert invoice["total_taxes"] == invoice["lines"]["data"][0]["taxes"]
    (found,) = invoice["total_taxes"]
    assert (found["amount"], found["taxable_amount"]) == (tax, net)
    assert found["tax_rate_details"] == {"tax_rate": vat}
    assert found["tax_behavior"] == ("inclusive" if inclusive else "exclusive")
    (charge, *_) = shop.get("/v1/charges", customer=made["customer"])["data"]
    assert charge["amount"] == amounts["total"]
    old = latest_invoice(shop, made["id"], **{"Stripe-Version": ACACIA})
    assert old["tax"] == tax
    assert old["total_tax_amounts"] == [
        {
            "amount": tax,
            "inclusive": inclusive,
            "tax_rate": vat,
            "taxability_reason": None,
            "taxable_amount": net,
        }
    ]
    (line,) = old["lines"]["data"]
    assert line["tax_amounts"] == old["total_tax_amounts"]
    assert [one["id"] for one in line["tax_rates"]] == [vat]


def test_prorations_are_taxed(shop: Storefront) -> None:
    vat = tax_rate(shop, 10)
    made = shop.post(
        "/v1/subscriptions",
        customer=shop.customer(),
        **{"items[0][price]": shop.plan, "items[0][tax_rates][0]": vat},
    )
    changed = {"items[0][id]": made["items"]["data"][0]["id"], "items[0][price]": shop.bigger}
    path = f"/v1/subscriptions/{made['id']}"
    shop.post(path, proration_behavior="always_invoice", **changed)
    invoice = latest_invoice(shop, made["id"])
    credit, debit = (line["amount"] for line in invoice["lines"]["data"])
    assert credit < 0 < debit
    taxed = [line["taxes"][0]["amount"] for line in invoice["lines"]["data"]]
    assert taxed == [round(credit / 10), round(debit / 10)]
    assert invoice["total"] == credit + debit + sum(taxed)
    assert invoice["total_taxes"][0]["amount"] == sum(taxed)
    shop.post(path, **{"default_tax_rates[0]": vat, "items[0][id]": changed["items[0][id]"],
                       "items[0][tax_rates]": ""})  # fmt: skip
    shop.sandbox.story("renew", subscription=made["id"])
    renewed = latest_invoice(shop, made["id"])
    assert (renewed["subtotal"], renewed["total"]) == (9900, 10890)


def test_a_draft_is_taxed_anew(shop: Storefront) -> None:
    vat, reduced = tax_rate(shop, 20), tax_rate(shop, 7)
    customer = shop.customer()
    draft = shop.post("/v1/invoices", customer=customer, **{"default_tax_rates[0]": vat})["id"]
    item = {"customer": customer, "invoice": draft, "currency": "usd"}
    for _ in range(11):
        shop.post("/v1/invoiceitems", amount=1000, **item)
    shop.post("/v1/invoiceitems", amount=1000, **item, **{"tax_rates[0]": reduced})
    before = shop.get(f"/v1/invoices/{draft}")
    assert (before["subtotal"], before["total"]) == (12_000, 12_000 + 11 * 200 + 70)
    assert sorted(tax["amount"] for tax in before["total_taxes"]) == [70, 2200]
    after = shop.post(f"/v1/invoices/{draft}", default_tax_rates="")
    assert (after["total"], after["default_tax_rates"]) == (12_070, [])
    (told,) = [
        event["data"]
        for event in shop.get("/v1/events", type="invoice.updated", limit=1)["data"]
        if event["data"]["object"]["id"] == draft
    ]
    assert told["previous_attributes"]["total"] == before["total"]
    lines = shop.get(f"/v1/invoices/{draft}/lines", limit=100)["data"]
    assert [len(line["taxes"]) for line in lines] == [0] * 11 + [1]


def test_who_is_exempt_pays_no_tax(shop: Storefront) -> None:
    customer = shop.customer(tax_exempt="reverse")
    vat = {"default_tax_rates[0]": tax_rate(shop)}
    draft = shop.post("/v1/invoices", customer=customer, **vat)["id"]
    shop.post("/v1/invoiceitems", customer=customer, invoice=draft, amount=1000, currency="usd")
    invoice = shop.get(f"/v1/invoices/{draft}")
    assert invoice["total"] == 1000
    (tax,) = invoice["total_taxes"]
    assert (tax["amount"], tax["taxability_reason"]) == (0, "reverse_charge")


def test_checkout_shows_the_tax_that_the_subscription_then_bills(shop: Storefront) -> None:
    vat = tax_rate(shop)
    session = shop.session(
        mode="subscription",
        **{"customer": shop.customer(None), "subscription_data[default_tax_rates][0]": vat},
    )
    assert (session["amount_subtotal"], session["amount_total"]) == (5800, 6902)
    assert session["total_details"]["amount_tax"] == 1102
    card = shop.post("/v1/payment_methods", type="card", **{"card[token]": "tok_visa"})["id"]
    confirmed = f"/v1/payment_pages/{session['id']}/confirm"
    paid = shop.post(confirmed, payment_method=card, expected_amount=6902)
    invoice = latest_invoice(shop, paid["subscription"])
    assert (invoice["amount_paid"], invoice["total_taxes"][0]["amount"]) == (6902, 1102)
