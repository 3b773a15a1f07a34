"""What is examined together: all of a user's, all of a customer's, or one object of nobody."""

from django.db import connection

from billing.diagnosis.facts import Person
from billing.models import BillingCustomer, FindingRecord, ReconciliationRun

USER, CUSTOMER, OBJECT = "u:", "c:", "o:"  # what a group's name begins with


def stamp(run: ReconciliationRun) -> None:
    """Says of each suspect whose it is: a user's, a customer's, or an object's of nobody."""
    begins = {"user": USER, "customer": CUSTOMER, "object": OBJECT}
    params: dict[str, int | str] = {"run": run.pk, **begins}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE billing_reconciliation_suspects s
            SET person = coalesce(
                %(user)s || (SELECT c.user_id FROM billing_customers c
                         WHERE c.stripe_customer_id = s.stripe_customer_id),
                %(user)s || nullif(s.user_id, ''),
                %(customer)s || nullif(s.stripe_customer_id, ''),
                %(object)s || s.object_id)
            WHERE s.run_id = %(run)s AND s.person = ''
            """,
            params,
        )
        # A guest's payment is of whoever the session names that was paid with it.
        cursor.execute(
            """
            UPDATE billing_reconciliation_suspects s SET person = o.person
            FROM billing_reconciliation_suspects o
            WHERE s.run_id = %(run)s AND o.run_id = s.run_id
              AND starts_with(s.person, %(object)s) AND NOT starts_with(o.person, %(object)s)
              AND coalesce(s.event->>'payment_intent',
                           s.event->'data'->'object'->>'payment_intent')
                  = nullif(o.event->>'payment_intent', '')
            """,
            params,
        )


def name_of(record: FindingRecord) -> str:
    """The name of the group that a finding is of."""
    if record.user_id:
        return f"{USER}{record.user_id}"
    if record.stripe_customer_id:
        return f"{CUSTOMER}{record.stripe_customer_id}"
    return f"{OBJECT}{record.subject}"


def person_of(name: str) -> Person:
    """Whom the name of a group of suspects stands for."""
    kind, key = name[: len(USER)], name[len(USER) :]
    if kind == USER:
        return Person.of_user(key)
    if kind == CUSTOMER:
        row = BillingCustomer.objects.filter(stripe_customer_id=key).first()
        return Person.of_customer(row) if row else Person(None, (key,))
    return Person(None, ())
