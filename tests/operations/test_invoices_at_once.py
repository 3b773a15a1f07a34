"""Two people pay one invoice at the same moment."""

from billing.operations.base import Result, new_key
from billing.operations.invoices import PayInvoice
from tests.operations.shop import BOB, Shop, at_once, audits, balance
from tests.support.databases import Database


def test_two_at_once_pay_once(real_database: Database, shop: Shop) -> None:
    told = shop.sandbox.story("past_due", subscription=shop.subscribe()["subscription"])
    shop.deliver()
    key = new_key()
    both = [PayInvoice(invoice_id=told["invoice"], key=key, **BOB).apply for _ in range(2)]
    outcomes = at_once(*both)
    assert all(isinstance(outcome, Result) for outcome in outcomes), outcomes
    assert sorted(outcome.already_done for outcome in outcomes) == [False, True]
    assert len(audits("manual.invoice_payment")) == 1
    charges = shop.sandbox.get("/v1/charges", limit=100).json()["data"]
    assert sum(charge["status"] == "succeeded" for charge in charges) == 2  # two periods
    assert balance("u_ada") == (40, 0)


def test_two_forms_at_once_pay_once(real_database: Database, shop: Shop) -> None:
    """Each has a key of its own: the second finds the invoice paid."""
    told = shop.sandbox.story("past_due", subscription=shop.subscribe()["subscription"])
    shop.deliver()
    both = [PayInvoice(invoice_id=told["invoice"], **BOB).apply for _ in range(2)]
    paid, refused = sorted(at_once(*both), key=lambda outcome: isinstance(outcome, Exception))
    assert paid.summary == f"{told['invoice']} is paid."
    assert "It is paid already" in str(refused)
    assert len(audits("manual.invoice_payment")) == 1
    assert balance("u_ada") == (40, 0)
