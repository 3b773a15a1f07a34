"""How money is split over lines, in SQL: in proportion, and never a minor unit more or less."""


def share(amount: str, weight: str, total: str, *, of: str, by: str) -> str:
    """A row's share of `amount`: the largest remainders get the units that are left over.

    All are SQL expressions: rows of the same `of` share the amount, which may be negative, in
    proportion to `weight` (0 or more) out of their `total` (above 0); `by` decides between equal
    remainders. The shares add up to the amount exactly.
    """
    product = f"(abs({amount})::numeric * {weight})"
    whole = f"div({product}, {total})"
    rank = f"row_number() OVER (PARTITION BY {of} ORDER BY mod({product}, {total}) DESC, {by})"
    left = f"abs({amount}) - sum({whole}) OVER (PARTITION BY {of})"
    return f"(sign({amount}) * ({whole} + CASE WHEN {rank} <= {left} THEN 1 ELSE 0 END))::bigint"


def netted(lines: str) -> str:
    """Weights for lines of `position` and `amount`: what is negative is taken off the largest.

    `lines` is a FROM clause's item named `x`; the rows are those of it with a weight above 0, none
    where they come to nothing, with `weight` besides.
    """
    return f"""
        SELECT * FROM (
            SELECT y.*, greatest(0, given - greatest(0, taken - before)) AS weight FROM (
                SELECT x.*, greatest(x.amount, 0) AS given,
                       sum(greatest(-x.amount, 0)) OVER () AS taken,
                       coalesce(sum(greatest(x.amount, 0)) OVER (
                           ORDER BY x.amount DESC, x.position
                           ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
                FROM {lines}
            ) y
        ) z WHERE weight > 0
    """  # noqa: S608  (the clause is the caller's own)
