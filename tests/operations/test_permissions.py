"""Every operation, by every role."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User

import billing.operations
from billing.models import BillingEvent, CreditEntry, OperationRecord
from billing.operations.accounts import (
    ChangeRights,
    ResetSecondFactor,
    SwitchOffAccount,
    SwitchOnAccount,
)
from billing.operations.assessment import RunAssessment
from billing.operations.backups import MakeBackup
from billing.operations.base import Actor, AnyOperation, InvalidInputError, NotPermittedError
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
from billing.operations.invoices import MarkInvoicePaid, PayInvoice, ResendInvoice, VoidInvoice
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
from billing.permissions import OPERATIONS, ROLES

Make = Callable[[Actor, str], AnyOperation]
MAKERS: dict[type[AnyOperation], Make] = {
    SyncFromStripe: lambda actor, reason: SyncFromStripe(
        kind="customer", id="cus_1", actor=actor, reason=reason
    ),
    GrantCredits: lambda actor, reason: GrantCredits(
        user_id="u", amount=1, actor=actor, reason=reason
    ),
    CorrectBalance: lambda actor, reason: CorrectBalance(
        user_id="u", balance=1, actor=actor, reason=reason
    ),
    ReactivateSubscription: lambda actor, reason: ReactivateSubscription(
        subscription_id="sub_1", actor=actor, reason=reason
    ),
    CancelAtPeriodEnd: lambda actor, reason: CancelAtPeriodEnd(
        subscription_id="sub_1", actor=actor, reason=reason
    ),
    ResendInvoice: lambda actor, reason: ResendInvoice(
        invoice_id="in_1", actor=actor, reason=reason
    ),
    PayInvoice: lambda actor, reason: PayInvoice(invoice_id="in_1", actor=actor, reason=reason),
    MarkInvoicePaid: lambda actor, reason: MarkInvoicePaid(
        invoice_id="in_1", evidence="Transfer 1", actor=actor, reason=reason
    ),
    VoidInvoice: lambda actor, reason: VoidInvoice(invoice_id="in_1", actor=actor, reason=reason),
    CreatePortalLink: lambda actor, reason: CreatePortalLink(
        customer="cus_1", actor=actor, reason=reason
    ),
    CreateBillingLink: lambda actor, reason: CreateBillingLink(
        customer="cus_1", actor=actor, reason=reason
    ),
    CreateCheckoutLink: lambda actor, reason: CreateCheckoutLink(
        customer="cus_1", price="price_1", actor=actor, reason=reason
    ),
    ReplayEvents: lambda actor, reason: ReplayEvents(
        event_ids=["evt_1"], actor=actor, reason=reason
    ),
    RecordSubscription: lambda actor, reason: RecordSubscription(
        subscription_id="sub_1", actor=actor, reason=reason
    ),
    OverrideStatus: lambda actor, reason: OverrideStatus(
        subscription_id="sub_1", status="active", hours=1, actor=actor, reason=reason
    ),
    EndOverride: lambda actor, reason: EndOverride(
        subscription_id="sub_1", actor=actor, reason=reason
    ),
    AddNote: lambda actor, reason: AddNote(about="u", text="Hi", actor=actor, reason=reason),
    WithdrawNote: lambda actor, reason: WithdrawNote(note_id=1, actor=actor, reason=reason),
    TakeBackCredits: lambda actor, reason: TakeBackCredits(
        user_id="u", amount=-1, actor=actor, reason=reason
    ),
    GrantPurchase: lambda actor, reason: GrantPurchase(
        purchase_id="cs_1", actor=actor, reason=reason
    ),
    AttributePayment: lambda actor, reason: AttributePayment(
        purchase_id="cs_1", user_id="u", actor=actor, reason=reason
    ),
    TieOutBalance: lambda actor, reason: TieOutBalance(user_id="u", actor=actor, reason=reason),
    RefundClaim: lambda actor, reason: RefundClaim(claim_id=1, actor=actor, reason=reason),
    MergeCustomers: lambda actor, reason: MergeCustomers(
        kept="cus_1", gone="cus_2", actor=actor, reason=reason
    ),
    EraseCustomer: lambda actor, reason: EraseCustomer(whom="cus_1", actor=actor, reason=reason),
    TakeFinding: lambda actor, reason: TakeFinding(finding_id=1, actor=actor, reason=reason),
    SnoozeFinding: lambda actor, reason: SnoozeFinding(
        finding_id=1, until="2026-03-01", actor=actor, reason=reason
    ),
    AcceptFinding: lambda actor, reason: AcceptFinding(finding_id=1, actor=actor, reason=reason),
    ReopenFinding: lambda actor, reason: ReopenFinding(finding_id=1, actor=actor, reason=reason),
    FixFinding: lambda actor, reason: FixFinding(finding_id=1, actor=actor, reason=reason),
    StartReconciliation: lambda actor, reason: StartReconciliation(
        kind="daily", actor=actor, reason=reason
    ),
    StartRecovery: lambda actor, reason: StartRecovery(
        since="2026-01-01", actor=actor, reason=reason
    ),
    SignOffRun: lambda actor, reason: SignOffRun(run_id=1, actor=actor, reason=reason),
    OpenIncident: lambda actor, reason: OpenIncident(
        incident_title="No webhooks", actor=actor, reason=reason
    ),
    HandOverIncident: lambda actor, reason: HandOverIncident(
        incident_id=1, actor=actor, reason=reason
    ),
    NoteIncident: lambda actor, reason: NoteIncident(
        incident_id=1, text="It began at nine", actor=actor, reason=reason
    ),
    TellOfIncident: lambda actor, reason: TellOfIncident(
        incident_id=1, to="team", message="We are at it", actor=actor, reason=reason
    ),
    CloseIncident: lambda actor, reason: CloseIncident(
        incident_id=1, report="It is over", actor=actor, reason=reason
    ),
    MakeBackup: lambda actor, reason: MakeBackup(actor=actor, reason=reason),
    RunAssessment: lambda actor, reason: RunAssessment(actor=actor, reason=reason),
    CheckMonth: lambda actor, reason: CheckMonth(month="2026-10", actor=actor, reason=reason),
    SignMonth: lambda actor, reason: SignMonth(month="2026-10", actor=actor, reason=reason),
    ReviewMonth: lambda actor, reason: ReviewMonth(month="2026-10", actor=actor, reason=reason),
    ReopenMonth: lambda actor, reason: ReopenMonth(month="2026-10", actor=actor, reason=reason),
    ChangeRights: lambda actor, reason: ChangeRights(account="sue", actor=actor, reason=reason),
    SwitchOffAccount: lambda actor, reason: SwitchOffAccount(
        account="sue", actor=actor, reason=reason
    ),
    SwitchOnAccount: lambda actor, reason: SwitchOnAccount(
        account="sue", actor=actor, reason=reason
    ),
    ResetSecondFactor: lambda actor, reason: ResetSecondFactor(
        account="sue", actor=actor, reason=reason
    ),
}
FOR_ENGINEERS = {
    "billing.override_status",
    "billing.end_override",
    "billing.merge_customers",
    "billing.erase_customer",
    "billing.tie_out_balance",
    "billing.hand_over_incident",
    "billing.close_incident",
    "billing.make_backup",
    "billing.assess_database",
    "billing.start_recovery",
    "billing.check_month",
}
FOR_FINANCE = {
    "billing.sign_off_run",
    "billing.sign_month",
    "billing.review_month",
    "billing.reopen_month",
}
FOR_ADMINISTRATORS = {
    "billing.change_rights",
    "billing.switch_off_account",
    "billing.switch_on_account",
    "billing.reset_second_factor",
}
ON_FINDINGS = {
    "billing.take_finding",
    "billing.snooze_finding",
    "billing.accept_finding",
    "billing.reopen_finding",
    "billing.reconcile",
}
MAY = {
    "support": set(OPERATIONS) - FOR_ENGINEERS - FOR_FINANCE - FOR_ADMINISTRATORS,
    "finance": ON_FINDINGS | FOR_FINANCE | {"billing.check_month"},
    "engineer": set(OPERATIONS) - FOR_FINANCE - FOR_ADMINISTRATORS,
    "administrator": FOR_ADMINISTRATORS,
}


def all_operations() -> set[type[AnyOperation]]:
    for module in pkgutil.iter_modules(billing.operations.__path__, "billing.operations."):
        importlib.import_module(module.name)
    return {one for one in below(AnyOperation) if not inspect.isabstract(one)}


def below(parent: type[AnyOperation]) -> Iterator[type[AnyOperation]]:
    for child in parent.__subclasses__():
        yield child
        yield from below(child)


def test_every_operation_is_made_here_and_has_a_permission_of_its_own() -> None:
    assert all_operations() == set(MAKERS)
    assert sorted(one.permission for one in MAKERS) == sorted(OPERATIONS)
    assert len({one.name for one in MAKERS}) == len(MAKERS)
    assert all(one.audit_type.startswith("manual.") for one in MAKERS)


def test_every_role_is_tried() -> None:
    assert set(MAY) == set(ROLES)


@pytest.mark.django_db
@pytest.mark.parametrize("role", sorted(MAY))
@pytest.mark.parametrize("operation", MAKERS, ids=lambda one: one.name)
def test_a_role_may_do_what_it_is_for_and_nothing_else(
    role: str, operation: type[AnyOperation]
) -> None:
    user = User.objects.create_user("someone", is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    made = MAKERS[operation](Actor.of(user), "A reason")
    if operation.permission in MAY[role]:
        made.check()
    else:
        with pytest.raises(NotPermittedError, match=operation.permission):
            made.apply()
        assert not OperationRecord.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("operation", MAKERS, ids=lambda one: one.name)
def test_nobody_is_nobody(operation: type[AnyOperation]) -> None:
    with pytest.raises(NotPermittedError):
        MAKERS[operation](Actor("?", AnonymousUser()), "A reason").apply()


@pytest.mark.django_db
@pytest.mark.parametrize("reason", ["", "  \n", "x" * 2001, "nul \x00"])
@pytest.mark.parametrize("operation", MAKERS, ids=lambda one: one.name)
def test_a_reason_is_needed_before_anything_is_read_or_written(
    operation: type[AnyOperation], reason: str
) -> None:
    with pytest.raises(InvalidInputError, match="reason"):
        MAKERS[operation](Actor.cli("bob"), reason).apply()
    assert not OperationRecord.objects.exists()
    assert not BillingEvent.objects.exists()
    assert not CreditEntry.objects.exists()
