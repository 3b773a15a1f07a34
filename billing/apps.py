"""The application's place in Django."""

from django.apps import AppConfig
from django.core.signals import request_finished


class BillingConfig(AppConfig):
    name = "billing"
    verbose_name = "Billing"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from billing.alerts.web import after_requests

        request_finished.connect(after_requests, dispatch_uid="billing.alerts")
