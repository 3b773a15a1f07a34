"""The balance, what moves it, and the payouts that empty it."""

from backoffice.sandbox import shapes
from backoffice.sandbox.errors import invalid, no_such
from backoffice.sandbox.lifecycle import payouts
from backoffice.sandbox.listing import PAGING, Filters, page_of
from backoffice.sandbox.resources.common import chosen, metadata, positive, with_metadata
from backoffice.sandbox.routing import Answer, Call, api, retrievable

retrievable("payout", "/v1/payouts/{id}", "PayoutRetrieveParams")


@api("GET", "/v1/balance", "BalanceRetrieveParams")
def retrieve_balance(call: Call) -> Answer:
    available, pending = (payouts.totals(call.work, status) for status in ("available", "pending"))
    return shapes.balance(available, pending)


@api("GET", "/v1/balance_transactions/{id}", "BalanceTransactionRetrieveParams")
def retrieve_balance_transaction(call: Call) -> Answer:
    payouts.release(call.work)
    return call.work.find("balance_transaction", call.id)


@api(
    "GET",
    "/v1/balance_transactions",
    "BalanceTransactionListParams",
    supports=f"{PAGING} created currency payout source type",
)
def list_balance_transactions(call: Call) -> Answer:
    work, params = call.work, call.params
    payouts.release(work)
    filters = Filters()
    filters.equal(params, "type")
    filters.json_equal(params, "currency")
    if source := params.get("source"):
        if work.stored(source) is None:
            raise no_such("source", source, "source", 400)
        filters.add("parent = ?", source)
    if payout := params.get("payout"):
        if not work.find("payout", payout, "payout")["automatic"]:
            raise invalid(
                "Balance transaction history can only be filtered on automatic transfers, not "
                "manual.",
                "payout",
            )
        filters.equal(params, "payout")
    return page_of(call, "balance_transaction", filters, "/v1/balance_transactions")


@api(
    "POST",
    "/v1/payouts",
    "PayoutCreateParams",
    supports="amount currency description metadata method source_type statement_descriptor",
)
def create_payout(call: Call) -> Answer:
    params = call.params
    if params.get("method") == "instant" or params.get("source_type", "card") != "card":
        raise invalid("This sandbox simulates only standard payouts of card payments.", "method")
    return payouts.create(
        call.work,
        positive(params["amount"], "amount"),
        params["currency"].lower(),
        metadata=metadata({}, params.get("metadata")),
        **chosen(params, "description statement_descriptor"),
    )


@api("POST", "/v1/payouts/{id}", "PayoutUpdateParams", supports="metadata")
def update_payout(call: Call) -> Answer:
    payout = call.work.find("payout", call.id)
    return call.work.change(payout, "payout.updated", **with_metadata(payout, call.params, ""))


@api("POST", "/v1/payouts/{id}/cancel", "PayoutCancelParams")
def cancel_payout(call: Call) -> Answer:
    payout = call.work.find("payout", call.id)
    payouts.cancel(call.work, payout)
    return payout


@api(
    "GET",
    "/v1/payouts",
    "PayoutListParams",
    supports=f"{PAGING} arrival_date created destination status",
)
def list_payouts(call: Call) -> Answer:
    filters = Filters()
    filters.equal(call.params, "status")
    filters.json_equal(call.params, "destination")
    filters.compare(call.params, "arrival_date", "json_extract(json, '$.arrival_date')")
    return page_of(call, "payout", filters, "/v1/payouts")
