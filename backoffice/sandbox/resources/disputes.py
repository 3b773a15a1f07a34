"""Disputes."""

from backoffice.sandbox.errors import invalid
from backoffice.sandbox.lifecycle import disputes
from backoffice.sandbox.listing import PAGING, Filters, page_of
from backoffice.sandbox.resources.common import with_metadata
from backoffice.sandbox.routing import Answer, Call, api, retrievable

retrievable("dispute", "/v1/disputes/{id}", "DisputeRetrieveParams")
ENDED = ("won", "lost", "warning_closed", "prevented")
# What Stripe's test mode takes as evidence that decides the case.
VERDICTS = {"winning_evidence": True, "losing_evidence": False}
ESCALATION = "escalate_inquiry_evidence"


@api("POST", "/v1/disputes/{id}", "DisputeUpdateParams", supports="evidence metadata submit")
def update_dispute(call: Call) -> Answer:
    work, params = call.work, call.params
    dispute = work.find("dispute", call.id)
    if dispute["status"] in ENDED:
        raise invalid("This dispute is already closed", "evidence")
    work.change(dispute, **with_metadata(dispute, params, ""))
    if evidence := params.get("evidence"):
        submit = params.get("submit", True)
        disputes.submit_evidence(work, dispute, evidence, submit=submit)
        said = evidence.get("uncategorized_text", "")
        if submit and said in VERDICTS:
            disputes.close(work, dispute, won=VERDICTS[said])
        elif submit and said == ESCALATION and dispute["status"].startswith("warning_"):
            disputes.escalate(work, dispute)
    return dispute


@api("POST", "/v1/disputes/{id}/close", "DisputeCloseParams")
def close_dispute(call: Call) -> Answer:
    dispute = call.work.find("dispute", call.id)
    if dispute["status"] in ENDED:
        raise invalid("This dispute is already closed")
    disputes.close(call.work, dispute, won=False)
    return dispute


@api("GET", "/v1/disputes", "DisputeListParams", supports=f"{PAGING} charge created payment_intent")
def list_disputes(call: Call) -> Answer:
    filters = Filters()
    filters.equal(call.params, "charge", "payment_intent")
    return page_of(call, "dispute", filters, "/v1/disputes")
