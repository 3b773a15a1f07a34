"""What the rest of the house wants to know of allauth's doings."""

from allauth.mfa import signals

from billing.access import second_factor, throttling


def connect() -> None:
    """Called once, when the application is ready."""
    signals.authenticator_used.connect(second_factor.note, dispatch_uid="billing.used")
    signals.authenticator_added.connect(second_factor.note_added, dispatch_uid="billing.added")
    signals.authentication_failed.connect(
        throttling.note_wrong_code, dispatch_uid="billing.wrong_code"
    )
