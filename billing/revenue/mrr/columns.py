"""The columns of the report on subscriptions, and of the rows behind it: what each figure means."""

from billing.revenue.report import Column

_PERIOD = (
    Column("date", "Period", "date", "The first day of the period."),
    Column("currency", "Currency", "text", "Currencies are never added."),
)
MRR = (
    *_PERIOD,
    Column("opening", "Opening MRR", "money",
           "Monthly recurring revenue when the period begins: active and past due subscriptions,"
           " each normalised to a month."),
    Column("new", "New", "money", "MRR of customers who never had any before."),
    Column("expansion", "Expansion", "money",
           "What was added to the MRR of customers who had some: a dearer price, a higher quantity,"
           " another subscription."),
    Column("contraction", "Contraction", "money",
           "What was taken from the MRR of customers who still have some."),
    Column("churned", "Churned", "money",
           "MRR of customers who have none any more: canceled, or unpaid after all retries."),
    Column("reactivated", "Reactivated", "money",
           "MRR of customers who had none, and had some before that."),
    Column("closing", "Closing MRR", "money",
           "Opening + new + expansion - contraction - churned + reactivated: the MRR when the"
           " period ends."),
    Column("closing_customers", "Customers", "number", "With MRR when the period ends."),
    Column("arpa", "ARPA", "money",
           "Average revenue per account: closing MRR by customers with MRR, half up."),
)  # fmt: skip
COUNTS = (
    *_PERIOD,
    Column("active", "Active", "number", "Active when the period ends."),
    Column("past_due", "Past due", "number",
           "Past due when the period ends: a payment has failed and is retried. They count as"
           " MRR."),
    Column("trialing", "Trialing", "number",
           "In a trial when the period ends. They do not count as MRR."),
)  # fmt: skip
CHURN = (
    *_PERIOD,
    Column("opening_customers", "Customers at start", "number",
           "With MRR when the period begins."),
    Column("churned_customers", "Churned", "number",
           "Customers whose MRR fell to nothing in the period."),
    Column("voluntary_customers", "Voluntary", "number",
           "Of these, who asked for it, or moved to what is free."),
    Column("involuntary_customers", "Involuntary", "number",
           "Of these, who left by a failed or disputed payment, or became unpaid. Where Stripe"
           " gives no reason, it is so when the subscription was past due or unpaid before."),
    Column("churn_rate", "Churn rate", "percent", "Churned by customers at start."),
    Column("opening", "MRR at start", "money", "MRR when the period begins."),
    Column("churned", "Churned MRR", "money", "MRR of the customers who churned."),
    Column("voluntary", "Voluntary MRR", "money", "MRR of those who left voluntarily."),
    Column("involuntary", "Involuntary MRR", "money", "MRR of those who did not."),
    Column("mrr_churn_rate", "MRR churn rate", "percent", "Churned MRR by MRR at start."),
)  # fmt: skip
TRIALS = (
    *_PERIOD,
    Column("started", "Started", "number", "Trials that began in the period."),
    Column("ended", "Ended", "number", "Trials that ended in the period."),
    Column("converted", "Converted", "number",
           "Of these, whose subscription had MRR right after."),
    Column("lost", "Lost", "number",
           "Of these, whose subscription had none: canceled, paused, or free."),
    Column("conversion", "Conversion", "percent", "Converted by ended."),
)  # fmt: skip

_COHORT = (
    Column("date", "Month", "date", "In which these customers had MRR for the first time."),
    Column("currency", "Currency", "text", "Currencies are never added."),
)


def cohort_columns(months: int) -> tuple[Column, ...]:
    """Of customers, for each month since their first."""
    about = "Customers of this month who have MRR at the end of month {} after it, by all of them."
    return (
        *_COHORT,
        Column("size", "Customers", "number", "Who had MRR for the first time in this month."),
        *(Column(f"customers_{n}", str(n), "percent", about.format(n)) for n in range(months)),
    )


def cohort_mrr_columns(months: int) -> tuple[Column, ...]:
    """Of their MRR, for each month since their first."""
    about = "MRR of this month's customers at the end of month {} after it, by their first MRR."
    return (
        *_COHORT,
        Column("mrr", "First MRR", "money", "What these customers' MRR was at first."),
        *(Column(f"mrr_{n}", str(n), "percent", about.format(n)) for n in range(months)),
    )


_WHO = (Column("customer_id", "Customer", "id"), Column("user_id", "User", "user"))
_WHEN = Column("at", "At", "time", "When it happened, by Stripe's clock.")
_SUBSCRIPTION = Column("subscription_id", "Subscription", "id")
_CURRENCY = Column("currency", "Currency")
_PRICE = Column("price_id", "Price", "id", "Of the subscription's first item.")
_SINCE = Column("first_at", "First MRR at", "time", "When the customer had MRR for the first time.")

CHANGES = (
    _WHEN, *_WHO, _SUBSCRIPTION, Column("kind", "Change"), _CURRENCY,
    Column("before", "Before", "money", "The customer's MRR before."),
    Column("after", "After", "money", "The customer's MRR after."),
    Column("change", "Difference", "money", "After - before."),
    Column("voluntary", "Voluntary", "text", "Of what churned: whether the customer asked for it."),
)  # fmt: skip
SUBSCRIPTIONS = (
    _SUBSCRIPTION, *_WHO, Column("status", "Status"),
    Column("at", "Since", "time", "Since when it was so."), _CURRENCY,
    Column("mrr", "MRR", "money", "What it came to in a month."), _PRICE,
    Column("quantity", "Quantity", "number", "Of the subscription's first item."),
)  # fmt: skip
CUSTOMERS = (*_WHO, _SINCE, _CURRENCY, Column("mrr", "MRR", "money", "Of all subscriptions."))
TRIAL_ENDS = (
    _WHEN, _SUBSCRIPTION, *_WHO, Column("trial", "Trial"),
    Column("status", "Status", "text", "The subscription's, from then on."), _CURRENCY,
    Column("mrr", "MRR", "money", "The subscription's, from then on."), _PRICE,
)  # fmt: skip
COHORT = (
    *_WHO, _SINCE, _CURRENCY, Column("first_mrr", "First MRR", "money", "What it was at first."),
    Column("mrr", "MRR", "money", "What it was at the end of the month."),
)  # fmt: skip
