"""The environment's variables: documented, and named in one sentence where they are wrong."""

import re
import secrets
from pathlib import Path

import pytest
from django.views.debug import get_exception_reporter_filter
from pytest_django import Settings

from backoffice.postgres import BASE_DIR
from tests.support.back_office import run_manage
from tests.support.databases import Database
from tests.support.environment import VARIABLES, child_environment

PRODUCTION = {
    "BACKUP_FOLDER": "/srv/backups",
    "DATABASE_URL": "postgres://billing:secret@127.0.0.1:9/billing",
    "DJANGO_ALLOWED_HOSTS": "billing.example.com",
    "DJANGO_DEBUG": "",
    "DJANGO_SECRET_KEY": secrets.token_urlsafe(64),
    "PUBLIC_URL": "https://billing.example.com",
    "STRIPE_API_BASE": "",
    "STRIPE_SECRET_KEY": "rk_live_" + "a1" * 16,
    "STRIPE_WEBHOOK_SECRET": "whsec_" + "b2" * 16,
}

MALFORMED = [
    ("ALERT_EMAILS", "tell-nobody"),
    ("ALERT_EMAILS", "tell-nobody@example.com; other@example.com"),
    ("ALERT_EMAILS", "tell-nobody@example.com"),  # without a mail server
    ("ALERT_WEBHOOK_URL", "ftp://tell-nobody.example.com"),
    ("BACKUP_FOLDER", "tell-nobody"),
    ("BACKUP_KEEP_DAYS", "0"),
    ("BACKUP_KEEP_DAYS", "tell-nobody"),
    ("LOG_FORMAT", "tell-nobody"),
    ("METRICS_TOKEN", "tell-nobody"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "tell-nobody"),
    ("POSTGRES_BIN", "tell-nobody"),
    ("SENTRY_DSN", "tell-nobody"),
    ("DATABASE_POOL_URL", "mysql://billing:tell-nobody@127.0.0.1/billing"),
    ("DATABASE_URL", "mysql://billing:tell-nobody@127.0.0.1/billing"),
    ("DATABASE_URL", "tell-nobody"),
    ("DATABASE_URL", "postgress://billing:tell-nobody@127.0.0.1/billing"),
    ("DATABASE_URL", "postgres://billing:tell-nobody@127.0.0.1"),
    ("DATABASE_URL", "postgres://billing:tell-nobody@127.0.0.1:port/billing"),
    ("DATABASE_URL", "postgres://billing:tell-nobody@[::1/billing"),
    ("DJANGO_ALLOWED_HOSTS", "https://tell-nobody.example.com/"),
    ("DJANGO_DEBUG", "tell-nobody"),
    ("DJANGO_SECRET_KEY", "tell-nobody"),
    ("BILLING_PAGE_URL", "tell-nobody"),
    ("BREACHED_PASSWORDS_URL", "tell-nobody"),
    ("EMAIL_FROM", "tell-nobody"),
    ("EMAIL_URL", "tell-nobody"),
    ("EXPORT_URL", "tell-nobody"),
    ("EXPORT_URL", "file://tell-nobody"),
    ("EXPORT_URL", "s3://key:tell-nobody@bucket/folder"),
    ("EXPORT_URL", "s3://bucket/folder?endpoint=https://key:tell-nobody@example.com"),
    ("HEARTBEAT_URL", "tell-nobody"),
    ("EMAIL_URL", "https://tell-nobody.example.com"),
    ("PUBLIC_URL", "tell-nobody"),
    ("RETAIN_PAYLOADS_DAYS", "30"),
    ("RETAIN_PAYLOADS_DAYS", "tell-nobody"),
    ("REPORT_TIME_ZONE", "Tell-nobody/Nowhere"),
    ("REPORT_TIME_ZONE", "../tell-nobody"),
    ("JOURNAL_ACCOUNTS", "tell-nobody"),
    ("JOURNAL_ACCOUNTS", '{"tell-nobody": "1000"}'),
    ("JOURNAL_ACCOUNTS", '{"bank": 1}'),
    ("STRIPE_API_BASE", "tell-nobody"),
    ("STRIPE_API_BASE", "https://tell-nobody.example.com/v1"),
    ("STRIPE_API_VERSION", "tell-nobody"),
    ("STRIPE_SECRET_KEY", "pk_test_tell-nobody"),
    ("STRIPE_SECRET_KEY", "sk_test_tellnobody"),
    ("STRIPE_WEBHOOK_SECRET", "tell-nobody"),
    ("STRIPE_WEBHOOK_SECRET", "whsec_tellnobody,sk_test_tell-nobody"),
]


def complaint(**changes: str) -> str:
    """What `manage.py check` writes to standard error; it must end with exit code 2."""
    done = run_manage("check", env=child_environment(**PRODUCTION | changes), check=False)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize(("name", "value"), MALFORMED)
def test_a_malformed_variable_is_named_in_one_sentence_without_its_value(
    name: str, value: str
) -> None:
    sentence = complaint(**{name: value})
    assert name in sentence
    assert sentence.count("\n") == 1
    assert "Traceback" not in sentence
    assert not re.search("(?i)tell-?nobody", sentence)


@pytest.mark.parametrize("name", ["DATABASE_URL", "DJANGO_ALLOWED_HOSTS", "DJANGO_SECRET_KEY"])
def test_a_missing_variable_is_named_in_one_sentence(name: str) -> None:
    sentence = complaint(**{name: ""})
    assert sentence.startswith(f"{name} is not set")
    assert sentence.count("\n") == 1


def test_the_example_documents_exactly_what_the_settings_read() -> None:
    example = (BASE_DIR / ".env.example").read_text()
    settings = (BASE_DIR / "backoffice" / "settings.py").read_text()
    documented = re.findall(r"^#.*\n([A-Z_]+)=", example, re.MULTILINE)
    read = re.findall(r'(?:read_\w+|env\.str)\(\s*"([A-Z_]+)"', settings)
    assert set(documented) == set(read) == set(VARIABLES)


def test_the_environment_is_read_in_the_settings_alone() -> None:
    readers = [
        file.relative_to(BASE_DIR)
        for folder in ("backoffice", "billing")
        for file in (BASE_DIR / folder).rglob("*.py")
        if re.search(r"os\.environ\b|getenv", file.read_text())
    ]
    # The web server, the demo and the drill pass it on to Django and to child processes.
    passing = ("wsgi.py", "demo.py", "drill/__main__.py", "drill/environment.py")
    assert set(readers) <= {Path("backoffice", name) for name in passing}


def test_the_documented_production_settings_pass_djangos_checks(real_database: Database) -> None:
    environment = child_environment(**PRODUCTION | {"DATABASE_URL": real_database.url})
    done = run_manage("check", "--deploy", "--fail-level", "WARNING", env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


def test_secret_addresses_stand_in_no_report_of_an_error(settings: Settings) -> None:
    settings.ALERT_WEBHOOK_URL = settings.HEARTBEAT_URL = "https://hooks.example.com/tell-nobody"
    shown = get_exception_reporter_filter(None).get_safe_settings()
    assert "tell-nobody" not in str(shown)
    assert shown["PUBLIC_URL"] == settings.PUBLIC_URL


def test_without_debug_the_embedded_database_is_not_used() -> None:
    assert "DATABASE_URL" in complaint(DATABASE_URL="", DJANGO_DEBUG="false")
