"""Who may see which page: a link opens one customer's, until it expires or is called back."""

from billing.models import BillingCustomer, OperationRecord
from billing.operations.billing_page import CreateBillingLink
from billing.signed_links import Link, UnusableLinkError

APPLIED = OperationRecord.Status.APPLIED


def customer_of(link: Link) -> BillingCustomer:
    """The customer whose page a link opens.

    Raises UnusableLinkError where the link was called back, the customer was deleted, or has
    become another user's since: the link was made for the one they were.
    """
    made = OperationRecord.objects.filter(
        key=link.key, name=CreateBillingLink.name, status=APPLIED, undoes=None
    ).first()
    if made is None or made.undone_by.filter(status=APPLIED).exists():
        raise UnusableLinkError
    details = made.result["details"]
    row = BillingCustomer.objects.filter(
        stripe_customer_id=details["customer"], deleted=False
    ).first()
    if row is None or row.user_id != details["user_id"]:
        raise UnusableLinkError
    return row
