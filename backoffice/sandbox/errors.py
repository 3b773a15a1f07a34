"""Stripe's errors: what is raised is what is answered."""

from typing import Any

from backoffice.sandbox.types import Json

DOCS = "https://stripe.com/docs/error-codes/"


class ApiError(Exception):
    """An error answer: HTTP `status` and Stripe's error object.

    The request's changes are undone unless `keeps_changes`.
    """

    keeps_changes = False
    missing: str | None = None
    """The id that names no object, for a `resource_missing`."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers: dict[str, str] = {}
        self.error: Json = {"message": message, "type": kind}
        if code:
            self.error |= {"code": code, "doc_url": DOCS + code.replace("_", "-")}
        if param is not None:
            self.error["param"] = param
        self.error |= extra


class CardError(ApiError):
    """A card was declined (402); what its failed charge changed stays."""

    keeps_changes = True

    def __init__(self, message: str, code: str, **extra: Any) -> None:
        super().__init__(402, message, kind="card_error", code=code, **extra)


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """A 400 for a request that cannot be done as asked."""
    return ApiError(400, message, param=param, code=code)


def missing_parameter(param: str) -> ApiError:
    """A 400 for a required parameter that was not sent."""
    return invalid(f"Missing required param: {param}.", param, "parameter_missing")


NAMES = {
    "payment_intent": "payment_intent",
    "payment_method": "PaymentMethod",
    "item": "checkout item",
    "billing_portal.session": "billing portal session",
    "webhook_endpoint": "webhook endpoint",
    "invoice_payment": "invoice payment",
    "setup_intent": "setupintent",
    "test_helpers.test_clock": "test clock",
}


def no_such(kind: str, id: str, param: str = "id", status: int = 404) -> ApiError:  # noqa: A002
    """A 404 for an unknown id in the path, or a 400 for one in a parameter."""
    name = NAMES.get(kind, kind)
    error = ApiError(status, f"No such {name}: '{id}'", code="resource_missing", param=param)
    error.missing = id
    return error
