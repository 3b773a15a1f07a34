"""`expand[]`: ids replaced by their objects, and fields that are rendered only on request."""

from collections.abc import Callable
from typing import Any

from backoffice.sandbox.errors import invalid
from backoffice.sandbox.shapes.base import listing
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work

MAX_LEVELS = 4
LONGEST_EMBEDDED = 10


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


ON_REQUEST: dict[tuple[str, str], Callable[[Work, Json], Json | None]] = {
    ("checkout.session", "line_items"): _children(
        "item", "parent", "/v1/checkout/sessions/{id}/line_items"
    ),
    ("invoice", "payments"): _children("invoice_payment", "invoice", "/v1/invoice_payments"),
    ("invoice", "confirmation_secret"): _confirmation_secret,
    ("charge", "refunds"): _children("refund", "charge", "/v1/charges/{id}/refunds"),
    ("customer", "subscriptions"): _live_subscriptions,
    ("customer", "sources"): lambda _, owner: listing([], f"/v1/customers/{owner['id']}/sources"),
    ("customer", "tax_ids"): lambda _, owner: listing([], f"/v1/customers/{owner['id']}/tax_ids"),
}


def expand(work: Work, answer: Json, paths: list[str]) -> Json:
    """`answer` with every one of `paths` expanded; the objects it came from stay as they are."""
    for path in paths:
        parts = path.split(".")
        if len(parts) - (parts[0] == "data") > MAX_LEVELS:
            raise invalid(
                f"You cannot expand more than {MAX_LEVELS} levels of a property. Property: {path}",
                "expand",
            )
        answer = _expanded(work, answer, parts, path)
    return answer


def _expanded(work: Work, node: Any, parts: list[str], path: str) -> Any:
    """A copy of `node` in which `parts` are expanded."""
    if not parts or node is None:
        return node
    if isinstance(node, list):
        return [_expanded(work, entry, parts, path) for entry in node]
    name, rest = parts[0], parts[1:]
    if not isinstance(node, dict):
        raise cannot_expand(path)
    render = ON_REQUEST.get((node.get("object", ""), name))
    if name not in node and render:
        child: Any = render(work, node)
    elif name in node:
        child = node[name]
    elif node.get("deleted"):
        return node
    else:
        raise cannot_expand(path)
    if isinstance(child, str):
        child = _resolve(work, child, path)
    elif not rest and child is not None and not isinstance(child, dict | list):
        raise cannot_expand(path)
    elif isinstance(child, list) and child and isinstance(child[0], str):
        child = [_resolve(work, entry, path) for entry in child]
    return {**node, name: _expanded(work, child, rest, path)}


def _resolve(work: Work, id: str, path: str) -> Json:  # noqa: A002
    found = work.stored(id)
    if found is None:
        raise cannot_expand(path)
    if found.deleted:
        return {"id": id, "object": found.value["object"], "deleted": True}
    return found.value


def cannot_expand(path: str) -> Exception:
    """The error for a path that has nothing to expand."""
    return invalid(f"This property cannot be expanded ({path}).", "expand")
