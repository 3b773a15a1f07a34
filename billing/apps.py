"""The application's place in Django."""

from django.apps import AppConfig
from django.core import checks
from django.core.signals import request_finished


class BillingConfig(AppConfig):
    name = "billing"
    verbose_name = "Billing"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from billing.access.signals import connect
        from billing.alerts.web import after_requests
        from billing.recovery.backups.checks import has_a_place_for_backups

        connect()
        request_finished.connect(after_requests, dispatch_uid="billing.alerts")
        checks.register(has_a_place_for_backups, deploy=True)
