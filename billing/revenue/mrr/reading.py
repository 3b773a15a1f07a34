"""SQL that reads Stripe's JSON: numbers, times, ids, and what a price comes to in a month.

What is not of the type that Stripe documents is read as if it were not there.
"""

AMOUNT = r"^-?[0-9]{1,15}(\.[0-9]{1,12})?$"
COUNT = "^[0-9]{1,9}$"
SECONDS = "^[0-9]{1,11}$"


def number(text: str, pattern: str = AMOUNT) -> str:
    """A number in a text; NULL where it is none."""
    return f"CASE WHEN ({text}) ~ '{pattern}' THEN ({text})::numeric END"


def moment(text: str) -> str:
    """A time in Unix seconds, as a timestamptz."""
    return f"CASE WHEN ({text}) ~ '{SECONDS}' THEN to_timestamp(({text})::float8) END"


def id_of(value: str) -> str:
    """The id in a field that has an id or the expanded object; '' for neither."""
    return (
        f"coalesce(CASE jsonb_typeof({value}) WHEN 'string' THEN {value} #>> '{{}}'"
        f" WHEN 'object' THEN {value}->>'id' END, '')"
    )


def array(value: str) -> str:
    """A JSON array; an empty one where it is none."""
    return f"CASE WHEN jsonb_typeof({value}) = 'array' THEN {value} ELSE '[]' END"


def of_objects(*values: str) -> str:
    """The first of these that is a JSON object, else NULL."""
    cases = " ".join(f"WHEN jsonb_typeof({value}) = 'object' THEN {value}" for value in values)
    return f"CASE {cases} END"


def unit_amount(price: str) -> str:
    """What one unit costs a period, in minor units and their parts: a price's, or a plan's."""
    names = ("unit_amount_decimal", "unit_amount", "amount_decimal", "amount")
    said = ", ".join(number(f"{price}->>'{name}'") for name in names)
    return f"coalesce({said}, 0)"


def monthly(price: str, amount: str) -> str:
    """What `amount` for each period of a price (or of a plan) comes to in a month.

    A year has 12 months, 52 weeks or 365 days. Nothing for a price that is not recurring, and for
    one that is metered. The numeric is not rounded.
    """

    def said(name: str) -> str:
        return f"coalesce({price}->'recurring'->>'{name}', {price}->>'{name}')"

    periods = f"nullif(coalesce({number(said('interval_count'), COUNT)}, 1), 0)"
    return f"""
        CASE WHEN {said("usage_type")} = 'metered' THEN 0
             ELSE coalesce(({amount}) * CASE {said("interval")}
                 WHEN 'month' THEN 12 WHEN 'year' THEN 1 WHEN 'week' THEN 52 WHEN 'day' THEN 365
                 ELSE 0 END / (12 * {periods}), 0) END
    """


def in_minor_units(monthly_sum: str) -> str:
    """Half up, once for a subscription: sums of thirds and twelfths first lose their tails."""
    return f"floor(round(least(coalesce({monthly_sum}, 0), 1e17), 9) + 0.5)::bigint"
