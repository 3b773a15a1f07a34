"""Disputes: inquiries that move no money, chargebacks that do, and how they end."""

from backoffice.sandbox import shapes
from backoffice.sandbox.lifecycle import money
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work

RESPONSE_TIME = 14 * 86400
"""Seconds in which a chargeback is to be answered."""


def open_dispute(work: Work, charge: Json, *, reason: str, inquiry: bool) -> Json:
    """A dispute of the whole charge; a chargeback withdraws the money at once."""
    dispute = shapes.dispute(
        work.new_id("du_"),
        work.now,
        amount=charge["amount"] - charge["amount_refunded"],
        charge=charge["id"],
        currency=charge["currency"],
        is_charge_refundable=inquiry,
        payment_intent=charge["payment_intent"],
        reason=reason,
        status="warning_needs_response" if inquiry else "needs_response",
    )
    if card := charge["payment_method_details"].get("card"):
        dispute["payment_method_details"] = {
            "card": {
                "brand": card["brand"],
                "network": card["brand"],
                "case_type": "inquiry" if inquiry else "chargeback",
                "network_reason_code": "10.4" if reason == "fraudulent" else "13.1",
            },
            "type": "card",
        }
    work.add(dispute)
    work.change(charge, disputed=True)
    if not inquiry:
        _move(work, dispute, -dispute["amount"], fee=money.DISPUTE_FEE)
    work.emit("charge.dispute.created", dispute)
    if not inquiry:
        work.emit("charge.dispute.funds_withdrawn", dispute)
    return dispute


def _move(work: Work, dispute: Json, amount: int, fee: int) -> None:
    category = "dispute" if amount < 0 else "dispute_reversal"
    booked = money.book(
        work,
        dispute,
        amount,
        dispute["currency"],
        kind="adjustment",
        category=category,
        fee=fee,
        description=f"Chargeback {'withdrawal' if amount < 0 else 'reversal'} for "
        f"{dispute['charge']}",
    )
    work.change(dispute, balance_transactions=[*dispute["balance_transactions"], dict(booked)])


def submit_evidence(work: Work, dispute: Json, evidence: Json, *, submit: bool) -> None:
    """Stores evidence; submitting it puts the dispute under review."""
    changes: Json = {
        "evidence": dispute["evidence"] | evidence,
        "evidence_details": dispute["evidence_details"] | {"has_evidence": True},
    }
    if submit:
        changes["evidence_details"]["submission_count"] += 1
        inquiry = dispute["status"].startswith("warning_")
        changes["status"] = "warning_under_review" if inquiry else "under_review"
    work.change(dispute, "charge.dispute.updated", **changes)


def escalate(work: Work, dispute: Json) -> None:
    """An inquiry becomes a chargeback: now the money is withdrawn."""
    details = dispute["payment_method_details"]
    card = details["card"] | {"case_type": "chargeback"}
    _move(work, dispute, -dispute["amount"], fee=money.DISPUTE_FEE)
    work.change(
        dispute,
        "charge.dispute.updated",
        evidence_details=dispute["evidence_details"] | {"due_by": work.now + RESPONSE_TIME},
        is_charge_refundable=False,
        payment_method_details=details | {"card": card},
        status="needs_response",
    )
    work.emit("charge.dispute.funds_withdrawn", dispute)


def close(work: Work, dispute: Json, *, won: bool) -> None:
    """The end: a won chargeback brings the money back, an inquiry just ends."""
    inquiry = dispute["status"].startswith("warning_")
    if won and not inquiry:
        _move(work, dispute, dispute["amount"], fee=-money.DISPUTE_FEE)
    status = "warning_closed" if inquiry else "won" if won else "lost"
    work.change(dispute, status=status, is_charge_refundable=False)
    work.emit("charge.dispute.closed", dispute)
    if won and not inquiry:
        work.emit("charge.dispute.funds_reinstated", dispute)
