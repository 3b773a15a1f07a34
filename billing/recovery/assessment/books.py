"""Do balances, ledger, purchases, refunds and claims agree with each other?

As reconciliation asks (billing.reconciliation.books), with what cannot be said of a database
that is merely behind Stripe: a row of ours that only another one of ours explains.
"""

from billing.recovery.assessment.outcomes import Check, Look, Outcome, Question

ENTRY = "billing.CreditEntry"
FROM_STRIPE = "Purchases and refunds come from Stripe again: manage.py recover_restore, or a sync."

# In the order of their ids each entry of a user takes up where the one before ended. Where a
# balance had been written past the triggers and was tied out later, that is told by an entry
# (`...:unseen`) after it, and is over.
BROKEN_LINE = """
    SELECT b.id, b.user_id FROM (
        SELECT id, user_id,
               balance_after - delta - lag(balance_after, 1, 0::bigint) OVER line AS jump,
               owed_after - owed_delta - lag(owed_after, 1, 0::bigint) OVER line AS owed_jump,
               balance_after < 0 OR owed_after < 0 AS below
        FROM {entries} AS e WINDOW line AS (PARTITION BY user_id ORDER BY id)) b
    WHERE below OR (jump <> 0 OR owed_jump <> 0) AND NOT EXISTS (
        SELECT FROM {entries} AS later
        WHERE later.user_id = b.user_id AND later.id >= b.id AND later.source LIKE '%:unseen')
"""
DIFFERING = """
    SELECT coalesce(c.user_id, s.user_id), coalesce(c.user_id, s.user_id)
    FROM {balances} AS c
    FULL JOIN (SELECT user_id, sum(delta) AS balance, sum(owed_delta) AS owed
               FROM {entries} AS e GROUP BY user_id) s ON s.user_id = c.user_id
    WHERE (coalesce(c.balance, 0), coalesce(c.owed, 0))
          IS DISTINCT FROM (coalesce(s.balance, 0), coalesce(s.owed, 0))
       OR c.balance < 0 OR c.owed < 0
"""


def ledger(look: Look) -> Outcome:
    """Each user's entries add up to their balance, and to what they owe."""
    sql = DIFFERING.format(**sources(look))
    return Question(
        "ledger sums",
        sql,
        "Every balance is what its ledger adds up to, and none is below 0.",
        "Balances that are not what their ledger adds up to, or are below 0",
        "The ledger is what was recorded, unless rows of it are lost: see the other checks of it."
        " If it is whole, manage.py tie_out_balance USER brings both together. If not, restore.",
        model="billing.LeadCredits",
    ).ask(look)


def line(look: Look) -> Outcome:
    """Each entry takes up where the user's entry before it ended."""
    return Question(
        "ledger line",
        BROKEN_LINE.format(**sources(look)),
        "Every entry takes up where the one before it ended.",
        "Entries that do not take up where the user's entry before ended, since one is missing or"
        " was changed, or a balance was written past the triggers",
        "Compare with the newest backup and with the export. manage.py verify_audit, and the log"
        " of PostgreSQL, may say who did it.",
        model=ENTRY,
    ).ask(look)


def sources(look: Look) -> dict[str, str]:
    return {
        "entries": look.readable("credit_entries"),
        "balances": look.readable("lead_credits"),
    }


QUESTIONS = (
    Question(
        "purchases granted",
        """
        SELECT p.id, p.user_id FROM billing_purchases p
        WHERE p.status = 'granted' AND p.credits > 0
          AND NOT EXISTS (SELECT FROM credit_entries e
                          WHERE (e.source LIKE 'checkout:%' OR e.source LIKE 'invoice:%')
                            AND split_part(e.source, ':', 2) = p.source)
        """,
        "Every purchase that says it was granted has its ledger entry.",
        "Purchases that say that they were granted, and no ledger entry does",
        "Ledger entries are lost. Restore a backup, or grant each: manage.py grant_purchase.",
        model="billing.Purchase",
    ),
    Question(
        "grants bought",
        """
        SELECT e.id, e.user_id FROM credit_entries e
        WHERE (e.source LIKE 'checkout:%' OR e.source LIKE 'invoice:%')
          AND NOT EXISTS (SELECT FROM billing_purchases p
                          WHERE p.source = split_part(e.source, ':', 2))
        """,
        "Every grant for a purchase has its purchase.",
        "Ledger entries that grant a purchase that is not here",
        FROM_STRIPE,
        model=ENTRY,
    ),
    Question(
        "granted twice",
        """
        SELECT p.id, p.user_id FROM billing_purchases p
        WHERE p.status = 'granted' AND p.payment_intent_id IN (
            SELECT payment_intent_id FROM billing_purchases
            WHERE status = 'granted' AND payment_intent_id <> ''
            GROUP BY payment_intent_id HAVING count(*) > 1)
        """,
        "No payment was granted as two purchases.",
        "Granted purchases that share their payment with another one",
        "One payment buys one thing: find out which, then manage.py take_back_credits.",
        model="billing.Purchase",
    ),
    Question(
        "purchases of somebody",
        """
        SELECT p.id, c.user_id FROM billing_purchases p
        LEFT JOIN billing_customers c USING (stripe_customer_id)
        WHERE p.status = 'granted' AND coalesce(p.user_id, '') = ''
        """,
        "Every granted purchase has its user.",
        "Purchases that were granted to nobody",
        "manage.py attribute_payment says whose each is.",
        model="billing.Purchase",
    ),
    Question(
        "refunds taken back",
        """
        SELECT e.id, e.user_id FROM credit_entries e
        WHERE (e.source LIKE 'refund:%' OR e.source LIKE 'refund\\_reversed:%'
               OR e.source LIKE 'dispute:%' OR e.source LIKE 'dispute\\_reversed:%')
          AND NOT EXISTS (SELECT FROM billing_payment_reversals r
                          WHERE r.stripe_id = split_part(e.source, ':', 2))
        """,
        "Every entry for a refund or dispute has its refund or dispute.",
        "Ledger entries that name a refund or dispute that is not here",
        FROM_STRIPE,
        model=ENTRY,
    ),
    Question(
        "refunds kept",
        """
        WITH granted AS (
            SELECT split_part(e.source, ':', 2) AS source, sum(e.delta - e.owed_delta) AS credits
            FROM credit_entries e WHERE e.source LIKE 'checkout:%' OR e.source LIKE 'invoice:%'
            GROUP BY 1),
        taken AS (
            SELECT split_part(e.source, ':', 2) AS stripe_id FROM credit_entries e
            WHERE e.source LIKE 'refund:%' OR e.source LIKE 'dispute:%'),
        paid_with AS (
            SELECT payment_intent_id, source FROM billing_purchases WHERE payment_intent_id <> ''
            UNION SELECT payment_intent_id, stripe_invoice_id FROM billing_invoice_payments)
        SELECT p.id, p.user_id
        FROM billing_payment_reversals r
        JOIN paid_with w USING (payment_intent_id)
        JOIN billing_purchases p ON p.source = w.source AND p.status = 'granted' AND p.amount > 0
        JOIN granted g ON g.source = p.source
        LEFT JOIN taken t ON t.stripe_id = r.stripe_id
        WHERE r.active
        GROUP BY p.id, p.user_id, p.amount, g.credits
        HAVING count(t.stripe_id) = 0 AND g.credits * least(sum(r.amount), p.amount) >= p.amount
        """,
        "Every refund and dispute has taken its credits back.",
        "Purchases that were refunded or disputed, and nothing was taken back",
        "manage.py sync_from_stripe of the customer settles it.",
        model="billing.Purchase",
    ),
    Question(
        "claims given back",
        """
        SELECT e.id, e.user_id FROM credit_entries e
        WHERE e.source LIKE 'claim:%'
          AND NOT EXISTS (SELECT FROM lead_claims c
                          WHERE c.id::text = split_part(e.source, ':', 2))
        """,
        "Every entry that gives a claim's credits back has its claim.",
        "Ledger entries that give back credits of a claim that is not here",
        "Claims are lost, and Stripe does not know them: manage.py recover_restore has them from"
        " the export, if there is one.",
        model=ENTRY,
    ),
    Question(
        "claims paid for",
        """
        SELECT c.id, c.user_id FROM lead_claims c
        WHERE c.status = 'succeeded' AND c.credits_spent > 0 AND NOT EXISTS (
            SELECT FROM credit_entries e
            WHERE e.user_id = c.user_id AND e.delta = -c.credits_spent
              AND e.kind IN ('claim', 'sql')
              AND e.created_at BETWEEN c.claimed_at - interval '5 minutes'
                                   AND c.claimed_at + interval '5 minutes')
        """,
        "Every claim has its debit in the ledger.",
        "Claims without a debit of what they cost in the ledger within five minutes",
        "Whoever claims may do both at different times. If they do not, ledger entries are lost:"
        " compare with a backup, and with the export.",
        model="billing.LeadClaim",
        clues=True,
    ),
)


def check_of(question: Question) -> Check:
    return Check(question.name, question.ask)


CHECKS = (
    Check("ledger sums", ledger),
    Check("ledger line", line),
    *map(check_of, QUESTIONS),
)
