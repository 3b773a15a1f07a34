"""Payment intents, charges, refunds, disputes and balance transactions. Amounts in minor units."""

from typing import Any

from backoffice.sandbox.shapes.base import EMPTY_ADDRESS, filled
from backoffice.sandbox.types import Json


def payment_intent(id: str, created: int, **given: Any) -> Json:  # noqa: A002
    """A payment intent, not yet confirmed."""
    return filled(
        {
            "id": id,
            "object": "payment_intent",
            "amount": 0,
            "amount_capturable": 0,
            "amount_details": {"tip": {}},
            "amount_received": 0,
            "application": None,
            "application_fee_amount": None,
            "automatic_payment_methods": None,
            "canceled_at": None,
            "cancellation_reason": None,
            "capture_method": "automatic_async",
            "client_secret": f"{id}_secret_{id[-24:]}",
            "confirmation_method": "automatic",
            "created": created,
            "currency": "usd",
            "customer": None,
            "customer_account": None,
            "description": None,
            "excluded_payment_method_types": None,
            "last_payment_error": None,
            "latest_charge": None,
            "livemode": False,
            "metadata": {},
            "next_action": None,
            "on_behalf_of": None,
            "payment_method": None,
            "payment_method_configuration_details": None,
            "payment_method_options": {},
            "payment_method_types": ["card"],
            "processing": None,
            "receipt_email": None,
            "review": None,
            "setup_future_usage": None,
            "shipping": None,
            "source": None,
            "statement_descriptor": None,
            "statement_descriptor_suffix": None,
            "status": "requires_payment_method",
            "transfer_data": None,
            "transfer_group": None,
        },
        given,
    )


def charge(id: str, created: int, **given: Any) -> Json:  # noqa: A002
    """A charge that succeeded; `refunds` is rendered only when expanded."""
    return filled(
        {
            "id": id,
            "object": "charge",
            "amount": 0,
            "amount_captured": 0,
            "amount_refunded": 0,
            "application": None,
            "application_fee": None,
            "application_fee_amount": None,
            "balance_transaction": None,
            "billing_details": {
                "address": EMPTY_ADDRESS,
                "email": None,
                "name": None,
                "phone": None,
                "tax_id": None,
            },
            "calculated_statement_descriptor": "LEADS",
            "captured": True,
            "created": created,
            "currency": "usd",
            "customer": None,
            "description": None,
            "disputed": False,
            "failure_balance_transaction": None,
            "failure_code": None,
            "failure_message": None,
            "fraud_details": {},
            "livemode": False,
            "metadata": {},
            "on_behalf_of": None,
            "outcome": {
                "advice_code": None,
                "network_advice_code": None,
                "network_decline_code": None,
                "network_status": "approved_by_network",
                "reason": None,
                "risk_level": "normal",
                "risk_score": 21,
                "seller_message": "Payment complete.",
                "type": "authorized",
            },
            "paid": True,
            "payment_intent": None,
            "payment_method": None,
            "payment_method_details": None,
            "radar_options": {},
            "receipt_email": None,
            "receipt_number": None,
            "receipt_url": None,
            "refunded": False,
            "review": None,
            "shipping": None,
            "source": None,
            "source_transfer": None,
            "statement_descriptor": None,
            "statement_descriptor_suffix": None,
            "status": "succeeded",
            "transfer_data": None,
            "transfer_group": None,
        },
        given,
    )


def refund(id: str, created: int, **given: Any) -> Json:  # noqa: A002
    """A refund to the card; fields that only a failed or pending refund has are left out."""
    extra = {
        name: given.pop(name)
        for name in ("failure_reason", "failure_balance_transaction", "pending_reason")
        if name in given
    }
    made = filled(
        {
            "id": id,
            "object": "refund",
            "amount": 0,
            "balance_transaction": None,
            "charge": None,
            "created": created,
            "currency": "usd",
            "customer": None,
            "customer_account": None,
            "destination_details": {
                "card": {
                    "reference_status": "pending",
                    "reference_type": "acquirer_reference_number",
                    "type": "refund",
                },
                "type": "card",
            },
            "metadata": {},
            "payment_intent": None,
            "payment_method": None,
            "reason": None,
            "receipt_number": None,
            "source_transfer_reversal": None,
            "status": "succeeded",
            "transfer_reversal": None,
        },
        given,
    )
    return made | extra


def dispute(id: str, created: int, **given: Any) -> Json:  # noqa: A002
    """A dispute that waits for a response."""
    return filled(
        {
            "id": id,
            "object": "dispute",
            "amount": 0,
            "balance_transactions": [],
            "charge": "",
            "created": created,
            "currency": "usd",
            "enhanced_eligibility_types": [],
            "evidence": dict.fromkeys(EVIDENCE) | {"enhanced_evidence": {}},
            "evidence_details": {
                "due_by": created + 14 * 86400,
                "enhanced_eligibility": {},
                "has_evidence": False,
                "past_due": False,
                "submission_count": 0,
            },
            "is_charge_refundable": False,
            "livemode": False,
            "metadata": {},
            "payment_intent": None,
            "payment_method_details": None,
            "reason": "fraudulent",
            "status": "needs_response",
        },
        given,
    )


EVIDENCE = (
    "access_activity_log",
    "billing_address",
    "cancellation_policy",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "customer_communication",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "customer_signature",
    "duplicate_charge_documentation",
    "duplicate_charge_explanation",
    "duplicate_charge_id",
    "product_description",
    "receipt",
    "refund_policy",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "service_date",
    "service_documentation",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_documentation",
    "shipping_tracking_number",
    "uncategorized_file",
    "uncategorized_text",
)


def balance_transaction(id: str, created: int, **given: Any) -> Json:  # noqa: A002
    """A movement on the account's balance, in settlement currency: `net = amount - fee`."""
    made = filled(
        {
            "id": id,
            "object": "balance_transaction",
            "amount": 0,
            "available_on": created,
            "balance_type": "payments",
            "created": created,
            "currency": "usd",
            "description": None,
            "exchange_rate": None,
            "fee": 0,
            "fee_details": [],
            "net": 0,
            "reporting_category": "charge",
            "source": None,
            "status": "pending",
            "type": "charge",
        },
        given,
    )
    made["net"] = made["amount"] - made["fee"]
    return made
