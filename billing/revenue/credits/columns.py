"""The figures of credits, each defined once."""

from billing.revenue.report import Column

DATE = Column("date", "From", "date", "The first day of the period.")
CURRENCY = Column("currency", "Currency", definition="In which the credits were bought.")

CREDITS = (
    DATE,
    Column("packs", "Sold in packs", "number", "Credits granted for paid checkout sessions."),
    Column(
        "subscriptions", "Sold with subscriptions", "number",
        "Credits granted for paid invoices of subscriptions.",
    ),
    Column(
        "free", "Granted free", "number",
        "Credits granted by hand for no purchase, by a correction upwards, or by SQL.",
    ),
    Column(
        "returned", "Returned", "number",
        "Credits that came back: of a failed refund, a dispute won, a claim that failed, of what"
        " was undone, or from another account of the same person.",
    ),
    Column(
        "spent", "Spent", "number",
        "Credits that the application took for leads: by SQL on the balance. Those of claims that"
        " failed are among them, and come back under Returned.",
    ),
    Column("refunded", "Taken back by refunds", "number", "Credits taken back for refunds."),
    Column("disputed", "Taken back by disputes", "number", "Credits taken back for disputes."),
    Column(
        "corrected", "Corrected down", "number",
        "Credits taken by corrections, by undoing a grant, or moved to another account. Credits"
        " never expire.",
    ),
    Column(
        "owed", "Change of what is owed", "number",
        "Credits that refunds and disputes took although they were spent already, less those that"
        " later grants paid. They are in the other columns, and in no balance.",
    ),
    Column(
        "net", "Net change", "number",
        "Sold, free and returned, less spent, taken back and corrected, plus the change of what is"
        " owed: the change of all balances.",
    ),
    Column(
        "outstanding", "Outstanding at the end", "number",
        "Credits in all balances at the end of the period: the sum of the ledger until then.",
    ),
    Column("owing", "Owed at the end", "number", "Credits that users owe by then."),
    Column("leads", "Leads", "number", "Lead claims that succeeded."),
)  # fmt: skip

_MONEY = (
    Column("sold", "Sold", "money", "What was paid for the purchases that granted credits."),
    Column(
        "settled", "Paid what was owed", "money",
        "The part of it whose credits paid what users owed, and reached no balance.",
    ),
    Column(
        "returned", "Returned", "money",
        "What had been paid for credits that came back. Those of a failed refund, a dispute won, or"
        " an undone correction are worth what was taken; those of a failed claim what the user's"
        " last entry of as many spent credits took.",
    ),
    Column(
        "spent", "Delivered", "money",
        "What had been paid for the credits that were spent, each at the price of its own lot,"
        " the oldest first: rounded so that the parts of a lot add up to its price.",
    ),
    Column("spent_credits", "Credits delivered", "number", "Bought credits that were spent."),
    Column(
        "clawed_back", "Taken back", "money",
        "What had been paid for the credits that refunds and disputes took: the oldest first,"
        " so that it need not be the sum refunded.",
    ),
    Column("corrected", "Corrected", "money", "What had been paid for credits corrected down."),
    Column(
        "liability", "Liability at the end", "money",
        "What was paid for the credits outstanding at the end: the unused part of each lot at its"
        " own price. It is that of the beginning, plus sold and returned, less what paid what was"
        " owed, delivered, taken back and corrected. Free credits are worth nothing.",
    ),
    Column(
        "liability_credits", "Bought credits outstanding", "number",
        "Credits of the lots behind the liability.",
    ),
    Column(
        "price_per_credit", "Average price outstanding", "money",
        "Liability by the bought credits outstanding, rounded to a minor unit.",
    ),
    Column(
        "price_per_lead", "Price per lead", "money",
        "What was paid for a bought credit that was spent in this currency, on average, times the"
        " credits that a succeeded claim cost on average. Free credits do not lower it.",
    ),
)  # fmt: skip
VALUES = (DATE, CURRENCY, *_MONEY)
TOTALS = (CURRENCY, *_MONEY)

HEAVIEST = (
    Column("user_id", "User", "user"),
    Column("spent", "Credits spent", "number", "All that the user spent in these days."),
    CURRENCY,
    Column("credits", "Of this currency", "number", "Those bought in it; free ones without one."),
    Column("value", "Value", "money", "What had been paid for these credits."),
)

OUTSTANDING = (
    Column("at", "Time", "time"),
    Column("lots", "Left in lots", "number", "All lots, less all that used them."),
    Column("periods", "By periods", "number", "What came and went in all periods until then."),
    Column("unread", "Neither yet", "number", "In entries since the last refresh."),
    Column("ledger", "Ledger", "number", "The sum of all its entries."),
    Column("balances", "Balances", "number", "The sum of all balances."),
    Column(
        "difference", "Difference", "number",
        "Between the greatest and the least of these sums; lots and periods with what is in neither"
        " yet.",
    ),
)  # fmt: skip
