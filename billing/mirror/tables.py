"""dj-stripe's tables: which column holds what of a Stripe object, as dj-stripe's models say.

The rules are those of dj-stripe's `StripeModel._stripe_object_to_record`, as SQL that reads
the columns out of the object's JSON. They are derived from the models' fields, so that a new
release's columns are filled, or refused here where we do not know their type.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.apps import apps
from django.db import models
from djstripe import fields as djstripe_fields
from djstripe.models import DjstripePaymentMethod
from psycopg import sql

from billing.gateway.observation import StripeDict
from billing.gateway.shapes import id_of

Path = tuple[str, ...]

# Stripe's types and dj-stripe's models of them, in the order in which they are written.
MODELS = {
    "account": "Account",
    "product": "Product",
    "price": "Price",
    "coupon": "Coupon",
    "tax_rate": "TaxRate",
    "customer": "Customer",
    "bank_account": "BankAccount",
    "card": "Card",
    "source": "Source",
    "payment_method": "PaymentMethod",
    "balance_transaction": "BalanceTransaction",
    "setup_intent": "SetupIntent",
    "payment_intent": "PaymentIntent",
    "charge": "Charge",
    "subscription": "Subscription",
    "subscription_item": "SubscriptionItem",
    "invoice": "Invoice",
    "invoiceitem": "InvoiceItem",
    "line_item": "LineItem",
    "checkout.session": "Session",
    "discount": "Discount",
    "refund": "Refund",
    "dispute": "Dispute",
    "payout": "Payout",
    "event": "Event",
}

# Where Stripe has what dj-stripe looks for under the field's own name (STRIPE.md, Versions).
MOVED: dict[tuple[str, str], tuple[Path, ...]] = {
    ("event", "idempotency_key"): (("request", "idempotency_key"),),
    ("event", "request_id"): (("request", "id"),),
    ("invoice", "subscription"): (("parent", "subscription_details", "subscription"),),
    ("invoiceitem", "price"): (("pricing", "price_details", "price"),),
    ("invoiceitem", "subscription"): (("parent", "subscription_details", "subscription"),),
    ("line_item", "invoice_item"): (
        ("parent", "invoice_item_details", "invoice_item"),
        ("parent", "subscription_item_details", "invoice_item"),
    ),
    ("line_item", "subscription"): (
        ("parent", "subscription_item_details", "subscription"),
        ("parent", "invoice_item_details", "subscription"),
    ),
    ("line_item", "subscription_item"): (
        ("parent", "subscription_item_details", "subscription_item"),
    ),
}

# Texts that Stripe may expand into the object that they name.
EXPANDABLE = {("balance_transaction", "source"), ("discount", "promotion_code")}

# dj-stripe's own bookkeeping, which no object of Stripe's says anything about.
NOT_STRIPES = {"djstripe_id", "djstripe_created", "djstripe_updated", "subscriber"}

# What a charge before payment methods was paid with: a table of ids, and their types by prefix.
LEGACY_TABLE: str = DjstripePaymentMethod._meta.db_table
LEGACY_TYPES = {"card": "card", "src": "source", "ba": "bank_account", "acct": "account"}


class UnknownColumnError(Exception):
    """dj-stripe has a column that the mirror does not know how to fill."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key: `column` holds the `key` column of a row of `parent`, another table.

    `late`: the parent's row has to be there when this one is written, and not only at COMMIT,
    and in one batch it is written later.
    """

    field: str
    column: str
    parent: str
    key: str
    required: bool
    unique: bool
    late: bool
    paths: tuple[Path, ...]

    def target(self, data: StripeDict) -> str | None:
        """The id that an object names here, as text or as the expanded object."""
        for path in self.paths:
            found: Any = data
            for name in path:
                found = found.get(name) if found.__class__ is dict else None
            if found and (target := id_of(found)):
                return target
        return None


@dataclass(frozen=True, slots=True)
class Link:
    """A many-to-many relation: under `field` an object lists others, which stand in `parent`.

    `through` is the table of pairs, of `child_column` and `parent_column`.
    """

    field: str
    parent: str
    through: str
    child_column: str
    parent_column: str


@dataclass(frozen=True, slots=True)
class Table:
    """One of dj-stripe's tables, and the statements that fill it.

    Both statements take an account's id and JSON: a list of objects with `stripe_data`, the
    columns of the references (ids), and `deleted_at`. `upsert` replaces rows that would come
    to differ; `insert` leaves existing ones alone and returns the ids of the new ones.
    """

    kind: str
    name: str
    references: tuple[Reference, ...]
    links: tuple[Link, ...]
    prepare: Callable[[StripeDict], StripeDict]
    upsert: str
    insert: str


@cache
def tables() -> dict[str, Table]:
    """Every table that is filled, by Stripe's name for its type, in the order of writing.

    Raises UnknownColumnError.
    """
    return {kind: describe(kind, djstripe_model(kind)) for kind in MODELS}


def djstripe_model(kind: str) -> Any:
    """dj-stripe's model for one of Stripe's types."""
    return apps.get_model("djstripe", MODELS[kind])


def describe(kind: str, model: Any) -> Table:
    """The table of one model. Raises UnknownColumnError."""
    fields = [field for field in model._meta.concrete_fields if field.name not in NOT_STRIPES]
    references = tuple(
        describe_reference(kind, field)
        for field in fields
        if field.is_relation and field.name != "djstripe_owner_account"
    )
    by_field = {reference.field: reference for reference in references}
    columns = {
        field.column: (
            lookup(model._meta.db_table, by_field[field.name])
            if field.name in by_field
            else expression(kind, field)
        )
        for field in fields
    }
    identity = ("id",) if model._meta.get_field("id").unique else model._meta.unique_together[0]
    insert = insert_statement(model._meta.db_table, columns, references, identity)
    return Table(
        kind,
        model._meta.db_table,
        references,
        tuple(describe_link(field) for field in model._meta.many_to_many),
        preparation(model),
        upsert=(insert + update_clause(model._meta.db_table, columns, identity)).as_string(),
        insert=(insert + sql.SQL(" DO NOTHING RETURNING id")).as_string(),
    )


def describe_reference(kind: str, field: Any) -> Reference:
    """One foreign key. Raises UnknownColumnError where it leads to a table not filled here."""
    parent = field.related_model
    written = list(MODELS.values())
    if parent is not DjstripePaymentMethod and parent.__name__ not in written:
        raise UnknownColumnError(f"{kind}.{field.name} refers to {parent.__name__}")
    key = field.target_field.column
    return Reference(
        field.name,
        field.column,
        parent._meta.db_table,
        key,
        required=not field.null,
        unique=field.unique,
        late=key != "id" and written.index(parent.__name__) >= written.index(field.model.__name__),
        paths=((field.name,), *MOVED.get((kind, field.name), ())),
    )


def describe_link(field: Any) -> Link:
    """One many-to-many relation."""
    return Link(
        field.name,
        field.related_model._meta.db_table,
        field.m2m_db_table(),
        field.m2m_column_name(),
        field.m2m_reverse_name(),
    )


def preparation(model: Any) -> Callable[[StripeDict], StripeDict]:
    """What dj-stripe adds to an object of `model` before it reads it; the object stays as it is.

    These additions are a part of its `stripe_data`, and its properties read them there.
    """
    hook = model._manipulate_stripe_object_hook
    base = next(parent for parent in model.__mro__ if parent.__name__ == "StripeModel")
    if hook.__func__ is base._manipulate_stripe_object_hook.__func__:
        return lambda data: data
    return lambda data: hook(dict(data))


def expression(kind: str, field: Any) -> sql.Composable:
    """What stands in the column of `field`, in SQL. Raises UnknownColumnError."""
    name = field.name
    match field:
        case _ if name == "id":
            return sql.SQL("stripe_data ->> 'id'")
        case _ if name == "stripe_data":
            return sql.SQL("stripe_data")
        case _ if name == "djstripe_owner_account":
            return sql.SQL("%s")
        case _ if name == "date_purged":
            return sql.SQL("deleted_at")
        case _ if name == "active":  # what is deleted is not for sale
            return fill(
                "(stripe_data ->> {})::boolean"
                " AND stripe_data -> 'deleted' IS DISTINCT FROM 'true'",
                name,
            )
        case models.TextField() | models.CharField():
            expanded = ((name, "id"),) if (kind, name) in EXPANDABLE else ()
            return text(field, (*expanded, (name,), *MOVED.get((kind, name), ())))
        case models.JSONField():
            return fill("nullif(stripe_data -> {}, 'null')", name)
        case models.BooleanField():
            return fill("(stripe_data ->> {})::boolean", name)
        case djstripe_fields.StripeDateTimeField():
            return fill("to_timestamp((stripe_data ->> {})::double precision)", name)
        case djstripe_fields.StripeQuantumCurrencyAmountField():
            return fill("(stripe_data ->> {})::bigint", name)
        case djstripe_fields.StripeDecimalCurrencyAmountField():  # texts are decimals already
            return fill(
                "(stripe_data ->> {0})::numeric"
                " / CASE jsonb_typeof(stripe_data -> {0}) WHEN 'string' THEN 1 ELSE 100 END",
                name,
            )
    raise UnknownColumnError(f"{kind}.{name} is a {type(field).__name__}")


def text(field: Any, paths: tuple[Path, ...]) -> sql.Composable:
    """A text column: the first that is not null, else ''; cut where the column would refuse it."""
    readings = sql.SQL(", ").join(
        sql.SQL("stripe_data #>> {}").format(sql.Literal(list(path))) for path in paths
    )
    whole = sql.SQL("coalesce({}, '')").format(readings)
    if isinstance(field, models.TextField):
        return whole
    return sql.SQL("left({}, {})").format(whole, sql.Literal(field.max_length))


def lookup(table: str, reference: Reference) -> sql.Composable:
    """A foreign key: the parent's id itself, or what it is known by in our database.

    Where only one row may refer to a parent, the first one keeps it.
    """
    column = sql.Identifier("r", reference.column)
    if reference.key == "id":
        return column
    free: sql.Composable = sql.SQL("")
    if reference.unique:
        free = sql.SQL(
            " AND NOT EXISTS (SELECT FROM {table} AS o"
            " WHERE o.{column} = p.{key} AND o.id <> r.stripe_data ->> 'id')"
        ).format(
            table=sql.Identifier(table),
            column=sql.Identifier(reference.column),
            key=sql.Identifier(reference.key),
        )
    return sql.SQL("(SELECT p.{key} FROM {parent} AS p WHERE p.id = {column}{free})").format(
        key=sql.Identifier(reference.key),
        parent=sql.Identifier(reference.parent),
        column=column,
        free=free,
    )


def fill(template: str, name: str) -> sql.Composable:
    """An expression with a field's name in place of its braces."""
    return sql.SQL(template).format(sql.Literal(name))


def insert_statement(
    table: str,
    columns: dict[str, sql.Composable],
    references: tuple[Reference, ...],
    identity: tuple[str, ...],
) -> sql.Composable:
    """INSERT ... SELECT from JSON, up to what is to be done about rows that exist."""
    typed = sql.SQL("").join(
        sql.SQL(", {} text").format(sql.Identifier(reference.column)) for reference in references
    )
    return sql.SQL(
        "INSERT INTO {table} ({names}, djstripe_created, djstripe_updated)"
        " SELECT {values}, now(), now() FROM jsonb_to_recordset(%s::jsonb)"
        " AS r(stripe_data jsonb, deleted_at timestamptz{typed}) ON CONFLICT ({identity})"
    ).format(
        table=sql.Identifier(table),
        names=sql.SQL(", ").join(map(sql.Identifier, columns)),
        values=sql.SQL(", ").join(columns.values()),
        typed=typed,
        identity=sql.SQL(", ").join(map(sql.Identifier, identity)),
    )


def update_clause(table: str, columns: Iterable[str], identity: tuple[str, ...]) -> sql.Composable:
    """Rows that exist are replaced, where anything about them would change.

    `*<>` is `IS DISTINCT FROM` by the bytes: on large JSON it is many times as fast. What tells
    them apart is left out: where it may change, PostgreSQL keeps everybody waiting who refers to
    the row (its manual, Row-Level Locks), and who waits at COMMIT holds what we need next.
    """
    columns = [name for name in columns if name not in identity]
    return sql.SQL(
        " DO UPDATE SET ({names}) = ROW({new}), djstripe_updated = now()"
        " WHERE ROW({old})::record *<> ROW({new})::record"
    ).format(
        names=sql.SQL(", ").join(map(sql.Identifier, columns)),
        new=sql.SQL(", ").join(sql.Identifier("excluded", name) for name in columns),
        old=sql.SQL(", ").join(sql.Identifier(table, name) for name in columns),
    )
