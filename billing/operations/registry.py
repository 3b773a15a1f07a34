"""Every operation by its name, and how a recorded one is built again."""

from billing.models import OperationRecord
from billing.operations.accounts import (
    ChangeRights,
    ResetSecondFactor,
    SwitchOffAccount,
    SwitchOnAccount,
)
from billing.operations.assessment import RunAssessment
from billing.operations.backups import MakeBackup
from billing.operations.base import Actor, AnyOperation, CannotUndoError, OperationError
from billing.operations.billing_page import CreateBillingLink
from billing.operations.cancellation import CancelAtPeriodEnd
from billing.operations.claims import RefundClaim
from billing.operations.closing import CheckMonth, ReopenMonth, ReviewMonth, SignMonth
from billing.operations.credits import CorrectBalance, GrantCredits, TakeBackCredits
from billing.operations.erasure import EraseCustomer
from billing.operations.findings import (
    AcceptFinding,
    ReopenFinding,
    SnoozeFinding,
    TakeFinding,
)
from billing.operations.fixing import FixFinding
from billing.operations.incidents import (
    CloseIncident,
    HandOverIncident,
    NoteIncident,
    OpenIncident,
    TellOfIncident,
)
from billing.operations.invoices import (
    MarkInvoicePaid,
    PayInvoice,
    ResendInvoice,
    VoidInvoice,
)
from billing.operations.links import CreateCheckoutLink, CreatePortalLink
from billing.operations.notes import AddNote, WithdrawNote
from billing.operations.overrides import EndOverride, OverrideStatus
from billing.operations.people import MergeCustomers
from billing.operations.purchases import AttributePayment, GrantPurchase
from billing.operations.recording import RecordSubscription
from billing.operations.recoveries import StartRecovery
from billing.operations.replay import ReplayEvents
from billing.operations.runs import SignOffRun, StartReconciliation
from billing.operations.subscriptions import ReactivateSubscription
from billing.operations.sync import SyncFromStripe
from billing.operations.tying import TieOutBalance

ALL: tuple[type[AnyOperation], ...] = (
    SyncFromStripe,
    GrantCredits,
    CorrectBalance,
    TakeBackCredits,
    TieOutBalance,
    GrantPurchase,
    AttributePayment,
    RefundClaim,
    MergeCustomers,
    EraseCustomer,
    ReactivateSubscription,
    CancelAtPeriodEnd,
    ReplayEvents,
    RecordSubscription,
    OverrideStatus,
    EndOverride,
    AddNote,
    WithdrawNote,
    ResendInvoice,
    PayInvoice,
    MarkInvoicePaid,
    VoidInvoice,
    CreatePortalLink,
    CreateCheckoutLink,
    CreateBillingLink,
    TakeFinding,
    SnoozeFinding,
    AcceptFinding,
    ReopenFinding,
    FixFinding,
    StartReconciliation,
    SignOffRun,
    OpenIncident,
    HandOverIncident,
    NoteIncident,
    TellOfIncident,
    CloseIncident,
    MakeBackup,
    RunAssessment,
    StartRecovery,
    CheckMonth,
    SignMonth,
    ReviewMonth,
    ReopenMonth,
    ChangeRights,
    SwitchOffAccount,
    SwitchOnAccount,
    ResetSecondFactor,
)
BY_NAME = {operation.name: operation for operation in ALL}


def named(name: str) -> type[AnyOperation]:
    """The operation of this name. Raises OperationError for one that is no more."""
    if name not in BY_NAME:
        raise OperationError(f"There is no operation “{name}” any more.")
    return BY_NAME[name]


def rebuild(record: OperationRecord) -> AnyOperation:
    """A recorded operation as it was asked for, by whom it was asked for.

    Raises NotPermittedError where its actor is gone, and InvalidInputError.
    """
    return named(record.name)(
        **record.parameters,
        actor=Actor.named(record.actor),
        reason=record.reason,
        reason_code=record.reason_code,
        ticket=record.ticket,
        key=record.key,
        undoes=record.undoes,
    )


def undo(record: OperationRecord, *, actor: Actor, reason: str, **common: str) -> AnyOperation:
    """The operation that takes an applied one back. Raises CannotUndoError with why not."""
    if record.status != OperationRecord.Status.APPLIED:
        raise CannotUndoError("It was not applied: there is nothing to take back.")
    if done := record.undone_by.filter(status=OperationRecord.Status.APPLIED).first():
        raise CannotUndoError(f"{done.actor} has taken it back already.")
    return named(record.name).undoing(record, actor=actor, reason=reason, **common)
