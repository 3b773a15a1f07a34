"""The environment of the tests and of the processes that they start."""

import os

SECRET_KEY = "sk_test_TestsOfTheBackOfficeUseThisKey"
WEBHOOK_SECRET = "whsec_TestsOfTheBackOfficeUseThisSecret"

# Every variable that the settings read, so that neither the caller's environment nor a
# `.env` file decides how a test ends. An empty value counts as not set.
VARIABLES = {
    "ALERT_EMAILS": "",
    "ALERT_WEBHOOK_URL": "",
    "BACKUP_FOLDER": "",
    "BACKUP_KEEP_DAYS": "",
    "DATABASE_POOL_URL": "",
    "DATABASE_SCHEMA": "",
    "DATABASE_URL": "",
    "DJANGO_ALLOWED_HOSTS": "",
    "DJANGO_DEBUG": "true",
    "DJANGO_SECRET_KEY": "the-tests-sign-with-this-key-and-nobody-else-does-so",
    "BILLING_PAGE_URL": "",
    "BREACHED_PASSWORDS_URL": "",
    "EMAIL_FROM": "",
    "EMAIL_URL": "",
    "EXPORT_URL": "",
    "HEARTBEAT_URL": "",
    "JOURNAL_ACCOUNTS": "",
    "LOG_FORMAT": "",
    "METRICS_TOKEN": "",
    "OIDC_CLIENT_ID": "",
    "OIDC_CLIENT_SECRET": "",
    "OIDC_ISSUER": "",
    "OIDC_NAME": "",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "",
    "POSTGRES_BIN": "",
    "PUBLIC_URL": "",
    "REPORT_TIME_ZONE": "",
    "RETAIN_PAYLOADS_DAYS": "",
    "SECOND_FACTOR": "",
    "SENTRY_DSN": "",
    "SESSION_HOURS": "",
    "SESSION_IDLE_MINUTES": "",
    # Nothing listens there: a test that talks to Stripe asks for the `sandbox` fixture.
    "STRIPE_API_BASE": "http://127.0.0.1:9",
    "STRIPE_API_VERSION": "",
    "STRIPE_BULK_REQUESTS_PER_SECOND": "0",
    "STRIPE_SECRET_KEY": SECRET_KEY,
    "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
    "TRUSTED_PROXIES": "",
}
INHERITED = ("HOME", "LANG", "PATH", "TMPDIR")


def child_environment(**changes: str) -> dict[str, str]:
    """The whole environment of a child process: that of the tests, with `changes`."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {**inherited, **VARIABLES, **changes}
