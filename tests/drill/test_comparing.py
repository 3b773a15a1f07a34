"""What must be true in the end: one wrong row, planted past everything that looks after it."""

import psycopg
import pytest

from backoffice.drill.comparing import Compared, compare
from backoffice.drill.model import Claim, Model
from billing.operations.credits import GrantCredits
from billing.operations.notes import AddNote
from tests.operations.shop import BOB
from tests.sandbox.server import SandboxProcess
from tests.support.databases import Database
from tests.support.events import deliver_and_drain, events_of

MINE = """
    INSERT INTO lead_claims (user_id, lead_id, credits_spent) VALUES ('u_ada', 'lead-1', 3);
    UPDATE lead_credits SET balance = balance - 3 WHERE user_id = 'u_ada'
"""
LOST = {
    "DELETE FROM billing_subscriptions": "billing_subscriptions sub_",
    "DELETE FROM billing_payment_reversals": "billing_payment_reversals re_",
    "DELETE FROM billing_purchases WHERE kind = 'pack'": "billing_purchases cs_",
    "DELETE FROM billing_invoice_payments": "billing_invoice_payments pi_",
    "DELETE FROM djstripe_refund": "djstripe_refund re_",
    "DELETE FROM lead_claims": "lead_claims lead-1",
    "DELETE FROM billing_notes": "billing_notes ('u_ada', 'Called.')",
    "DELETE FROM billing_events WHERE type = 'manual.credit_adjustment'": "audit event of",
    "DELETE FROM billing_inbox WHERE type = 'charge.refunded'": "billing_inbox evt_",
    "DELETE FROM lead_credits": "lead_credits u_ada",
}
WRONG = {
    "UPDATE billing_subscriptions SET status = 'canceled'": "{'status': 'canceled'}",
    "UPDATE billing_invoices SET amount_paid = 0": "{'amount_paid': '0'}",
    "UPDATE billing_customers SET user_id = 'u_bob'": "{'user_id': 'u_bob'}",
    "UPDATE lead_claims SET credits_spent = 4": "('u_ada', 4, False)",
    "UPDATE lead_credits SET balance = balance - 1": "the ledger does not add up",
    "UPDATE billing_inbox SET status = 'dead' WHERE type = 'charge.refunded'": "is dead",
}


class Truth:
    """A back office that is as it must be: a subscription, a pack half of which was refunded, a
    claim, a grant by hand and a note."""

    def __init__(self, database: Database, sandbox: SandboxProcess) -> None:
        self.database = database
        self.sandbox = sandbox
        self.model = Model()
        self.live()
        self.keep_by_hand()

    def live(self) -> None:
        make = self.sandbox.make
        worth = {"currency": "usd", "unit_amount": 2900, "metadata[lead_credits]": 30}
        worth |= {"product_data[name]": "Leads"}
        plan = make("prices", **worth, **{"recurring[interval]": "month"})["id"]
        pack = make("prices", **worth)["id"]
        ada = {"email": "ada@example.com", "metadata[user_id]": "u_ada"}
        who = {"customer": make("customers", **ada)["id"], "user_id": "u_ada"}
        self.sandbox.story("subscribe", price=plan, **who)
        bought = self.sandbox.story("buy_pack", price=pack, **who)
        self.sandbox.story("refund", payment_intent=bought["payment_intent"], amount=1450)
        deliver_and_drain(events_of(self.sandbox))

    def keep_by_hand(self) -> None:
        with psycopg.connect(self.database.url) as marketplace:
            marketplace.execute(MINE.encode())
        self.model.claim(Claim("u_ada", "lead-1", 3))
        granted = GrantCredits(user_id="u_ada", amount=7, **BOB)
        noted = AddNote(about="u_ada", text="Called.", **BOB)
        granted.apply()
        noted.apply()
        self.model.operations += [granted.key, noted.key]
        self.model.given["u_ada"] += 7
        self.model.notes.append(("u_ada", "Called."))

    def compared(self) -> Compared:
        return compare(self.database.url, self.sandbox, self.model)

    def after(self, statement: str) -> Compared:
        """What it is found to be once somebody ran a statement past the triggers; then it is as
        before."""
        table = next(word for word in statement.split() if word not in ("DELETE", "FROM", "UPDATE"))
        self.run(f"CREATE TABLE kept AS TABLE {table}")
        assert self.run(statement) == 1
        try:
            return self.compared()
        finally:
            self.run(f"DELETE FROM {table}")  # noqa: S608
            self.run(f"INSERT INTO {table} SELECT * FROM kept")  # noqa: S608
            self.run("DROP TABLE kept")

    def run(self, statement: str) -> int:
        """How many rows a statement has touched."""
        with psycopg.connect(self.database.url) as somebody:
            somebody.execute("SET LOCAL session_replication_role = replica")
            return somebody.execute(statement.encode()).rowcount


@pytest.fixture
def truth(real_database: Database, sandbox: SandboxProcess) -> Truth:
    return Truth(real_database, sandbox)


def test_each_wrong_row_is_named(truth: Truth) -> None:
    assert truth.compared().lines() == []
    for statement, said in LOST.items():
        compared = truth.after(statement)
        [lost] = compared.lost
        assert lost.startswith(said), statement
        assert not compared.doubled, statement
    for statement, said in WRONG.items():
        compared = truth.after(statement)
        assert said in "\n".join(compared.differences), statement
        assert not compared.lost, statement
    twice = truth.after("UPDATE lead_credits SET balance = balance + 15")
    assert twice.doubled == ["lead_credits u_ada: 64 credits, and 49 would be right"]
