"""What must not stand in a report of an error: what Django hides in it, and secrets of ours."""

import re

from django.views.debug import SafeExceptionReporterFilter

OURS = "ALERT_WEBHOOK_URL|HEARTBEAT_URL"


class WithoutSecrets(SafeExceptionReporterFilter):
    """Hides our own secrets as Django does its own."""

    hidden_settings = re.compile(
        f"{SafeExceptionReporterFilter.hidden_settings.pattern}|{OURS}", re.IGNORECASE
    )
