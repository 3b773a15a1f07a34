"""`expand[]`: ids replaced by their objects, and fields that are rendered only on request."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from stripe._object_classes import get_object_class

from backoffice.sandbox import versions
from backoffice.sandbox.errors import ApiError, invalid
from backoffice.sandbox.shapes.base import listing
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work

MAX_LEVELS = 4
LONGEST_EMBEDDED = 10
ID_OR_OBJECT = "Union[str, ForwardRef("  # the package's ExpandableField, as annotations show it

Render: TypeAlias = Callable[[Any], Any]
"""How an object is shown to a client of some API version."""


def _children(kind: str, column: str, url: str) -> Callable[[Work, Json], Json]:
    def render(work: Work, owner: Json) -> Json:
        found = work.select(kind, **{column: owner["id"]})
        if kind in ("refund", "subscription"):
            found.reverse()
        return listing(
            found[:LONGEST_EMBEDDED],
            url.format(id=owner["id"]),
            has_more=len(found) > LONGEST_EMBEDDED,
        )

    return render


def _live_subscriptions(work: Work, owner: Json) -> Json:
    found = [s for s in work.select("subscription", customer=owner["id"]) if not s["ended_at"]]
    found.reverse()
    return listing(found[:LONGEST_EMBEDDED], f"/v1/customers/{owner['id']}/subscriptions")


def _confirmation_secret(work: Work, owner: Json) -> Json | None:
    for payment in work.select("invoice_payment", invoice=owner["id"]):
        intent = work.get("payment_intent", payment["payment"].get("payment_intent"))
        if intent and payment["status"] == "open":
            return {"client_secret": intent["client_secret"], "type": "payment_intent"}
    return None


def _paid_off_stripe(work: Work, owner: Json) -> int:
    """What was paid on an invoice outside Stripe: what none of its payments brought."""
    brought = [p["amount_paid"] or 0 for p in work.select("invoice_payment", invoice=owner["id"])]
    return max(int(owner["amount_paid"]) - sum(brought), 0)


ON_REQUEST: dict[tuple[str, str], Callable[[Work, Json], Json | int | None]] = {
    ("checkout.session", "line_items"): _children(
        "item", "parent", "/v1/checkout/sessions/{id}/line_items"
    ),
    ("invoice", "payments"): _children("invoice_payment", "invoice", "/v1/invoice_payments"),
    ("invoice", "confirmation_secret"): _confirmation_secret,
    ("invoice", "amount_paid_off_stripe"): _paid_off_stripe,
    ("charge", "refunds"): _children("refund", "charge", "/v1/charges/{id}/refunds"),
    ("customer", "subscriptions"): _live_subscriptions,
    ("customer", "sources"): lambda _, owner: listing([], f"/v1/customers/{owner['id']}/sources"),
    ("customer", "tax_ids"): lambda _, owner: listing([], f"/v1/customers/{owner['id']}/tax_ids"),
}


@cache
def expandable(kind: str) -> frozenset[str]:
    """The fields of a resource, nested ones too, that hold ids which can be expanded."""
    names: set[str] = set()
    pending: list[type] = [get_object_class("V1", kind)]
    while pending:
        shape = pending.pop()
        hints = inspect.get_annotations(shape)
        names |= {name for name, hint in hints.items() if ID_OR_OBJECT in str(hint)}
        pending += [
            inner
            for inner in vars(shape).values()
            if inspect.isclass(inner) and inner.__qualname__.startswith(f"{shape.__qualname__}.")
        ]
    return versions.EXPANDABLE.get(kind, frozenset()) | names


def expand(work: Work, answer: Json, paths: list[str], render: Render) -> Json:
    """`answer` with every one of `paths` expanded; the objects it came from stay as they are."""
    for path in paths:
        parts = path.split(".")
        if len(parts) > MAX_LEVELS:
            raise invalid(
                f"You cannot expand more than {MAX_LEVELS} levels of a property. Property: {path}",
                "expand",
            )
        answer = Expansion(work, path, render).within(answer, parts)
    return answer


@dataclass(frozen=True, slots=True)
class Expansion:
    """One path of `expand[]` at work."""

    work: Work
    path: str
    render: Render

    def within(self, node: Any, parts: list[str], kind: str = "") -> Any:
        """A copy of `node`, a part of a resource of `kind`, in which `parts` are expanded."""
        if not parts or node is None:
            return node
        if isinstance(node, list):
            return [self.within(entry, parts, kind) for entry in node]
        if not isinstance(node, dict):
            raise self.refusal()
        name, rest = parts[0], parts[1:]
        kind = node.get("object", kind)
        render = ON_REQUEST.get((kind, name))
        if name not in node and render:
            child: Any = self.render(render(self.work, node))
        elif name in node:
            child = self._child(node[name], name, kind, last=not rest)
        elif node.get("deleted") or name in expandable(kind) - versions.EXPANDABLE.get(kind, set()):
            return node  # nothing stands there now
        else:
            raise self.refusal(hint=kind in ("list", "search_result"))
        return {**node, name: self.within(child, rest, kind)}

    def _child(self, value: Any, name: str, kind: str, *, last: bool) -> Any:
        """What stands in a field: the object itself where it holds an id."""
        ids = value if isinstance(value, list) else [value]
        if not any(isinstance(id_, str) for id_ in ids):
            nothing = name == "metadata" or (last and not isinstance(value, dict | list))
            if nothing and name not in expandable(kind):
                raise self.refusal()
            return value
        if name not in expandable(kind):
            raise self.refusal()
        found = [self._resolve(id_) if isinstance(id_, str) else id_ for id_ in ids]
        return found if isinstance(value, list) else found[0]

    def _resolve(self, id_: str) -> Any:
        found = self.work.stored(id_)
        if found is None:
            raise self.refusal()
        if found.deleted:
            return {"id": id_, "object": found.value["object"], "deleted": True}
        return self.render(found.value)

    def refusal(self, *, hint: bool = False) -> ApiError:
        """The error for a path that has nothing to expand."""
        more = f" You may want to try expanding 'data.{self.path}' instead." if hint else ""
        return invalid(f"This property cannot be expanded ({self.path}).{more}", "expand")
