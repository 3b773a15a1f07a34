"""Django's settings; the only reader of the environment.

Every variable is documented in `.env.example`. A missing or malformed one raises
`ImproperlyConfigured` with one sentence that names it.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

import environ
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from django.urls import reverse_lazy

from backoffice.sidebar import SIDEBAR
from backoffice.telemetry import report_errors, send_traces
from billing.revenue.accounts import ACCOUNTS

BASE_DIR = Path(__file__).resolve().parent.parent
LOCAL_DIR = BASE_DIR / ".local"

env = environ.Env()
if (BASE_DIR / ".env").is_file():
    env.read_env(BASE_DIR / ".env")


def read_bool(name: str, *, default: bool = False) -> bool:
    """A switch: on or off."""
    text = env.str(name, default="").strip().lower()
    if not text:
        return default
    if text in ("0", "false", "no", "off"):
        return False
    if text in ("1", "true", "yes", "on"):
        return True
    raise ImproperlyConfigured(f"{name} must be true or false.")


def read_text(name: str, pattern: str, meaning: str, *, default: str | None = None) -> str:
    """A text that must match `pattern`; `meaning` completes the sentence if it does not.

    The value itself never stands in the message: it may be a secret.
    """
    value = env.str(name, default="").strip()
    if not value:
        if default is not None:
            return default
        raise ImproperlyConfigured(f"{name} is not set: it must be {meaning}.")
    if not re.fullmatch(pattern, value):
        raise ImproperlyConfigured(f"{name} is malformed: it must be {meaning}.")
    return value


DEBUG = read_bool("DJANGO_DEBUG")

SECRET_KEY = read_text(
    "DJANGO_SECRET_KEY",
    r".{50,}",
    "a random text of at least 50 characters",
    default="insecure-key-for-local-development-only-never-in-production" if DEBUG else None,
)
ALLOWED_HOSTS = [
    host.strip()
    for host in read_text(
        "DJANGO_ALLOWED_HOSTS",
        r"[A-Za-z0-9.*:\[\]_-]+(\s*,\s*[A-Za-z0-9.*:\[\]_-]+)*",
        "a comma-separated list of host names, such as billing.example.com",
        default="localhost,127.0.0.1,[::1]" if DEBUG else None,
    ).split(",")
]


# A machine that is cut off is noticed within a minute or so, by either side: the client's requests
# fail and are tried again, and the server rolls back what it held locked. Without this each side
# would wait for hours. Of a Unix socket none of it is true, and none of it does harm.
NOTICED = {
    "connect_timeout": 10,  # seconds
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds
}
NOTICED_BY_SERVER = (
    "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
    " -c tcp_user_timeout=60000"
)
# The schema of our own tables where `adopt` has moved in beside an application; else `public`.
DATABASE_SCHEMA = read_text(
    "DATABASE_SCHEMA",
    r"(?!public$|pg_)[a-z_][a-z0-9_]{0,50}",
    "the name of a schema that is not public, such as backoffice",
    default="",
)


def read_address(name: str, url: str) -> dict[str, Any]:
    """What Django needs to know of the database at a postgres:// address."""
    malformed = ImproperlyConfigured(
        f"{name} is malformed: it must be like postgres://user:password@host:5432/name."
    )
    # Looked at first: django-environ would print an unknown one, its password included.
    if not re.match(r"postgres(ql)?://", url):
        raise malformed
    try:
        database: dict[str, Any] = env.db_url_config(url)
    except (ImproperlyConfigured, ValueError, KeyError):
        raise malformed from None
    if not database.get("NAME"):
        raise malformed
    database["HOST"] = unquote(database["HOST"] or "")
    database["CONN_MAX_AGE"] = 60
    database["CONN_HEALTH_CHECKS"] = True
    database["OPTIONS"] = NOTICED | database.get("OPTIONS", {})
    return database


def read_database() -> dict[str, Any]:
    """The one database, PostgreSQL, from DATABASE_URL; else the embedded server's."""
    url = env.str("DATABASE_URL", default="").strip()
    if not url:
        if not DEBUG:
            raise ImproperlyConfigured(
                "DATABASE_URL is not set: give it a postgres:// address,"
                " or set DJANGO_DEBUG=true to use the embedded server."
            )
        from backoffice.postgres import database_url

        url = database_url()
    database = read_address("DATABASE_URL", url)
    options = database["OPTIONS"].get("options", NOTICED_BY_SERVER)
    if DATABASE_SCHEMA:
        options += f" -c search_path={DATABASE_SCHEMA},public"
    database["OPTIONS"]["options"] = options
    return database


def read_pool() -> dict[str, Any] | None:
    """The same database through a pool in transaction mode, from DATABASE_POOL_URL.

    Only the web server goes through it (backoffice.wsgi): what is the session's own, such as a
    lock or a cursor outside a transaction, would end up in somebody else's there.
    """
    url = env.str("DATABASE_POOL_URL", default="").strip()
    if not url:
        return None
    return read_address("DATABASE_POOL_URL", url) | {"DISABLE_SERVER_SIDE_CURSORS": True}


EMBEDDED_POSTGRES = DEBUG and not env.str("DATABASE_URL", default="").strip()
DATABASES = {"default": read_database()}
DATABASE_POOL = read_pool()

# Stripe. The key is not needed to migrate, check or log in, so it may be absent;
# whatever talks to Stripe then says so (billing.gateway.client).
STRIPE_SECRET_KEY = read_text(
    "STRIPE_SECRET_KEY",
    r"(sk|rk)_(test|live)_[A-Za-z0-9]{24,}",
    "a secret key such as sk_test_ followed by at least 24 letters or digits",
    default="",
)
STRIPE_LIVE_MODE = STRIPE_SECRET_KEY.startswith(("sk_live_", "rk_live_"))
STRIPE_TEST_SECRET_KEY = "" if STRIPE_LIVE_MODE else STRIPE_SECRET_KEY
STRIPE_LIVE_SECRET_KEY = STRIPE_SECRET_KEY if STRIPE_LIVE_MODE else ""
STRIPE_WEBHOOK_SECRETS = [
    secret.strip()
    for secret in read_text(
        "STRIPE_WEBHOOK_SECRET",
        r"whsec_[A-Za-z0-9+/=_-]+(\s*,\s*whsec_[A-Za-z0-9+/=_-]+)*",
        "the endpoint's signing secret, whsec_..., or several of them separated by commas",
        default="",
    ).split(",")
    if secret.strip()
]
STRIPE_API_VERSION = read_text(
    "STRIPE_API_VERSION",
    r"\d{4}-\d{2}-\d{2}(\.[a-z]+)?",
    "a version of Stripe's API such as 2026-08-26.dahlia",
    default="2026-08-26.dahlia",
)
STRIPE_API_BASE = read_text(
    "STRIPE_API_BASE",
    r"https?://[^\s/]+/?",
    "an address without a path, such as https://api.stripe.com",
    default="https://api.stripe.com",
).rstrip("/")
if STRIPE_API_BASE != "https://api.stripe.com":
    STRIPE_API_HOST = STRIPE_API_BASE  # dj-stripe's own commands read this name

# What reads everything at Stripe takes half of the requests that an account may make a second
# (100 in live mode, 25 in test mode: STRIPE.md, API limits), and leaves the rest to people.
STRIPE_BULK_REQUESTS_PER_SECOND = float(
    read_text(
        "STRIPE_BULK_REQUESTS_PER_SECOND",
        r"\d{1,4}(\.\d+)?",
        "a number of requests a second such as 12, or 0 for no limit",
        default="50" if STRIPE_LIVE_MODE else "12",
    )
)

# Off, but in tests that run inside one rolled-back transaction.
STRIPE_CALLS_IN_TRANSACTION = False

# For how many days the raw payloads of processed events are kept (billing.ingress.retention).
# A year of a yearly subscription, and a month to look at it, is what people come back to.
RETAIN_PAYLOADS_DAYS = int(
    read_text(
        "RETAIN_PAYLOADS_DAYS",
        r"0|3[1-9]|[4-9]\d|[1-9]\d{2,3}",
        "a number of days from 31 to 9999, or 0 to keep them for ever",
        default="400",
    )
)

# Where this back office is reached from outside: check_webhooks looks for an
# endpoint with this address at Stripe.
PUBLIC_URL = read_text(
    "PUBLIC_URL",
    r"https?://[^\s/]+(/[^\s]*)?",
    "the address at which Stripe and people reach this back office",
    default="http://127.0.0.1:8000",
).rstrip("/")

# The page to which checkout, and a portal link of an agent's, lead customers back.
BILLING_PAGE_URL = read_text(
    "BILLING_PAGE_URL",
    r"https?://[^\s/]+(/[^\s]*)?",
    "the address of the customers' own billing page",
    default=f"{PUBLIC_URL}/billing/",
)


def read_time_zone() -> str:
    """The IANA zone whose days a report's are; times are UTC everywhere else."""
    name = read_text(
        "REPORT_TIME_ZONE",
        r"[A-Za-z0-9+_/-]+",
        "the IANA name of a time zone such as Europe/Berlin",
        default="UTC",
    )
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise ImproperlyConfigured(
            "REPORT_TIME_ZONE is malformed: it must be the IANA name of a time zone such as"
            " Europe/Berlin."
        ) from None
    return name


REPORT_TIME_ZONE = read_time_zone()


def read_accounts() -> dict[str, str]:
    """The journal's accounts by their keys (billing.revenue.journal), as the ledger names them."""
    accounts = dict(ACCOUNTS)
    malformed = ImproperlyConfigured(
        "JOURNAL_ACCOUNTS is malformed: it must be JSON with a name for each of"
        f" {', '.join(accounts)} that is to have another one."
    )
    try:
        given = json.loads(env.str("JOURNAL_ACCOUNTS", default="").strip() or "{}")
    except ValueError:
        raise malformed from None
    if not isinstance(given, dict) or not given.keys() <= accounts.keys():
        raise malformed
    if not all(isinstance(name, str) and name.strip() for name in given.values()):
        raise malformed
    return accounts | {key: name.strip() for key, name in given.items()}


JOURNAL_ACCOUNTS = read_accounts()


def read_email() -> dict[str, Any]:
    """Where letters go: a mail server's address; without one to the log, or nowhere."""
    url = read_text(
        "EMAIL_URL",
        r"(smtp|smtp\+tls|smtp\+ssl|consolemail|dummymail)://\S*",
        "a mail server's address such as smtp+tls://user:password@mail.example.com:587",
        default="consolemail://" if DEBUG else "dummymail://",
    )
    config: dict[str, Any] = env.email_url_config(url)
    return {name: value for name, value in config.items() if name.startswith("EMAIL_")}


# Approvers are told of requests by email (billing.operations.approvals).
globals().update(read_email())
PASSWORD_RESET = bool(env.str("EMAIL_URL", default="").strip())
DEFAULT_FROM_EMAIL = read_text(
    "EMAIL_FROM",
    r"[^@\s]+@[^@\s]+",
    "the email address that letters come from",
    default=f"billing@{urlsplit(PUBLIC_URL).hostname}",
)

# Who is told when something needs people (billing.alerts). Both addresses are secrets.
ALERT_EMAILS = [
    address.strip()
    for address in read_text(
        "ALERT_EMAILS",
        r"[^@\s,]+@[^@\s,]+(\s*,\s*[^@\s,]+@[^@\s,]+)*",
        "email addresses, separated by commas",
        default="",
    ).split(",")
    if address.strip()
]
if ALERT_EMAILS and globals()["EMAIL_BACKEND"].endswith("dummy.EmailBackend"):
    raise ImproperlyConfigured("ALERT_EMAILS is set and EMAIL_URL is not: no letter would go out.")
ALERT_WEBHOOK_URL = read_text(
    "ALERT_WEBHOOK_URL",
    r"https?://[^\s/]+(/\S*)?",
    "the address of an incoming webhook that takes Slack's format",
    default="",
)
HEARTBEAT_URL = read_text(
    "HEARTBEAT_URL",
    r"https?://[^\s/]+(/\S*)?",
    "the address to call after each good daily reconciliation",
    default="",
)

# Who may read the figures for Prometheus (billing.observing); nobody unless set.
METRICS_TOKEN = read_text(
    "METRICS_TOKEN",
    r"[A-Za-z0-9._~+/=-]{24,}",
    "at least 24 letters, digits or ._~+/=-",
    default="",
)

# Where backups of the database are kept (billing.recovery.backups); nowhere unless set.
BACKUP_FOLDER = read_text(
    "BACKUP_FOLDER", r"/[^\x00]*", "the absolute path of a folder, such as /srv/backups", default=""
)
BACKUP_KEEP_DAYS = int(
    read_text("BACKUP_KEEP_DAYS", r"[1-9]\d{0,3}", "a number of days from 1 to 9999", default="30")
)
POSTGRES_BIN = read_text(
    "POSTGRES_BIN",
    r"/[^\x00]*",
    "the absolute path of the folder that holds pg_dump and pg_restore",
    default="",
)

# Where the books are exported to, all the time (billing.recovery.export); nowhere unless set.
# It has no password: what a store asks for comes from the variables that its own tools read.
EXPORT_URL = read_text(
    "EXPORT_URL",
    r"file:///[^\s?#]+|s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s?#@]*)?"
    r"(\?((endpoint=https?://[^\s@&]+|region=[a-z0-9-]+)&?)+)?",
    "file:///folder or s3://bucket/folder, which may end with ?endpoint=https://... or ?region=...",
    default="",
).rstrip("/")

# Off in the tests, whose web processes and workers are for other things.
WATCH_WORKER_FROM_WEB = True

DJSTRIPE_FOREIGN_KEY_TO_FIELD = "id"

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "axes",
    "djstripe",
    "pgtrigger",
    "procrastinate.contrib.django",
    "billing",
    "backoffice.drill",
    "backoffice",
]

MIDDLEWARE = [
    "backoffice.middleware.RequestIds",
    "backoffice.middleware.SecurityHeaders",
    "billing.observing.probes.Probes",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "backoffice.middleware.ReadingOrder",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "backoffice.middleware.RateLimits",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "billing.access.middleware.SessionLimits",
    "billing.access.middleware.SecondFactor",
    "axes.middleware.AxesMiddleware",
]

AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]

ROOT_URLCONF = "backoffice.urls"
WSGI_APPLICATION = "backoffice.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "billing.admin.banner.context",
                "billing.admin.access.context",
            ],
        },
    },
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
# Where a new password is looked up among those that were in breaches (billing.access.breaches).
BREACHED_PASSWORDS_URL = read_text(
    "BREACHED_PASSWORDS_URL",
    r"https?://[^\s?#]+/|off",
    "the address of a service with Pwned Passwords' ranges, ending in /, or off",
    default="off" if DEBUG else "https://api.pwnedpasswords.com/range/",
)
if BREACHED_PASSWORDS_URL != "off":
    AUTH_PASSWORD_VALIDATORS.append({"NAME": "billing.access.breaches.BreachedPasswordValidator"})
LOGIN_URL = reverse_lazy("admin:login")
LOGIN_REDIRECT_URL = "admin:index"

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = LOCAL_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": (
            "django.contrib.staticfiles.storage.StaticFilesStorage"
            if DEBUG
            else "whitenoise.storage.CompressedManifestStaticFilesStorage"
        )
    },
}
WHITENOISE_USE_FINDERS = DEBUG

# Log-in throttling: five wrong passwords or codes for a name from one address, then a pause
# (billing.access.throttling). What was tried meanwhile does not make it longer.
AXES_FAILURE_LIMIT = 5
AXES_CLIENT_IP_CALLABLE = "billing.rate_limits.client_address"
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_LOCKOUT_CALLABLE = "billing.admin.access.locked_out"
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_RESET_ON_SUCCESS = True
AXES_VERBOSE = False
# The history of log-ins is axes' (billing.access.history), kept by age and not by number.
AXES_ENABLE_ACCESS_FAILURE_LOG = True
AXES_ACCESS_FAILURE_LOG_PER_USER_LIMIT = 1_000_000
AXES_SENSITIVE_PARAMETERS = [
    "code",
    "credential",
    "csrfmiddlewaretoken",
    "ip_address",
    "login",
    "username",
]

# Who may change anything has to have a second factor (billing.access.second_factor).
SECOND_FACTOR = read_bool("SECOND_FACTOR", default=not DEBUG)
ACCOUNT_ADAPTER = "billing.access.adapters.AccountAdapter"
ACCOUNT_DEFAULT_HTTP_PROTOCOL = urlsplit(PUBLIC_URL).scheme
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_LOGOUT_REDIRECT_URL = "admin:login"
ACCOUNT_RATE_LIMITS = False  # axes throttles
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*"]
MFA_ADAPTER = "billing.access.adapters.MFAAdapter"
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_FORMS = {
    "add_webauthn": "billing.access.forms.AddWebAuthnForm",
    "authenticate": "billing.access.forms.AuthenticateForm",
    "reauthenticate": "billing.access.forms.ReauthenticateForm",
}
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_RATE_LIMITS = False
MFA_RECOVERY_CODES_SHOW_ONCE = True
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_TOTP_ISSUER = "Billing Back Office"
MFA_TOTP_TOLERANCE = 1  # a clock may be half a minute off
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = DEBUG


def read_openid() -> dict[str, Any]:
    """The OpenID Connect provider whose accounts may log in; {} where there is none."""
    issuer = read_text(
        "OIDC_ISSUER",
        r"https://[^\s?#]+" if not DEBUG else r"https?://[^\s?#]+",
        "the issuer's address as the provider names it, such as https://login.example.com",
        default="",
    )
    if not issuer:
        return {}
    meaning = "what the provider gave when this back office was registered there"
    return {
        "provider_id": "oidc",
        "name": read_text("OIDC_NAME", r".{1,60}", "at most 60 characters", default="OpenID"),
        "client_id": read_text("OIDC_CLIENT_ID", r"\S+", meaning),
        "secret": read_text("OIDC_CLIENT_SECRET", r"\S+", meaning),
        "settings": {"server_url": issuer.rstrip("/"), "fetch_userinfo": False},
    }


OPENID = read_openid()
SOCIALACCOUNT_ADAPTER = "billing.access.adapters.OpenIDAdapter"
SOCIALACCOUNT_LOGIN_ON_GET = True
SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {"OAUTH_PKCE_ENABLED": True, "APPS": [OPENID] if OPENID else []}
}
SOCIALACCOUNT_REQUESTS_TIMEOUT = 10  # seconds

# A session ends after so long without a request, and in any case after so long.
SESSION_IDLE_MINUTES = int(
    read_text("SESSION_IDLE_MINUTES", r"[1-9]\d{0,3}", "a number of minutes", default="30")
)
SESSION_HOURS = int(
    read_text("SESSION_HOURS", r"[1-9]\d{0,2}", "a number of hours from 1 to 999", default="12")
)

# Behind TLS, unless this is a developer's machine. The prefix has browsers refuse a cookie that
# another host of the domain, or plain HTTP, would put in its place.
COOKIE_PREFIX = "" if DEBUG else "__Host-"
SESSION_COOKIE_NAME = f"{COOKIE_PREFIX}sessionid"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = not DEBUG
# Lax: links in letters and chats lead to pages of the back office, without a second log-in.
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = SESSION_HOURS * 60 * 60  # seconds
CSRF_COOKIE_NAME = f"{COOKIE_PREFIX}csrftoken"
CSRF_COOKIE_HTTPONLY = True  # forms carry the token, no script reads it
CSRF_COOKIE_SECURE = not DEBUG
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_TRUSTED_ORIGINS = [
    f"{urlsplit(PUBLIC_URL).scheme}://{urlsplit(PUBLIC_URL).netloc}",
]
# In the session: the other storage is a cookie, which would carry names and amounts.
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"

# How many of our own proxies stand before the web server, each adding to X-Forwarded-For: so far
# its word on who asks is believed (billing.rate_limits), and that on TLS, which the outermost must
# set or remove. 0 where the web server itself is what people reach.
TRUSTED_PROXIES = int(
    read_text(
        "TRUSTED_PROXIES",
        r"\d",
        "the number of proxies before the web server, such as 1",
        default="0" if DEBUG else "1",
    )
)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
SECURE_SSL_REDIRECT = not DEBUG
# No redirect of what no person asks for: a sender would never notice that its first request, body
# and all, went over plain HTTP. The webhook refuses it.
SECURE_REDIRECT_EXEMPT = [r"^webhooks/"]
SECURE_HSTS_SECONDS = 0 if DEBUG else 365 * 24 * 60 * 60
SECURE_HSTS_INCLUDE_SUBDOMAINS = not DEBUG
SECURE_HSTS_PRELOAD = not DEBUG
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# No page takes files. An event may have 512 KiB (billing.ingress.views); the largest form is a
# page of a worklist, all of it ticked.
DATA_UPLOAD_MAX_NUMBER_FILES = 0
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 1000

# dj-stripe's W002 warns of STRIPE_API_HOST without DEBUG; here it is set only where
# STRIPE_API_BASE was set on purpose, and that is said in .env.example.
SILENCED_SYSTEM_CHECKS = ["djstripe.W002"]

LOG_FORMAT = read_text("LOG_FORMAT", r"line|json", "line or json", default="line")
DEFAULT_EXCEPTION_REPORTER_FILTER = "backoffice.reports.WithoutSecrets"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"()": "backoffice.logs.Lines"},
        "json": {"()": "backoffice.logs.JsonLines"},
    },
    "handlers": {
        # Commands answer on stdout, so every log line goes to stderr.
        "stderr": {
            "class": "logging.StreamHandler",
            "stream": sys.stderr,
            "formatter": LOG_FORMAT,
        },
    },
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "billing": {"level": "INFO"},
        "backoffice": {"level": "INFO"},
        # It writes the addresses that it calls, of which two are secrets.
        "httpx": {"level": "WARNING"},
        "httpcore": {"level": "WARNING"},
        "django.server": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
    },
}

# Where errors and traces go, if anywhere (backoffice.telemetry).
SENTRY_DSN = read_text(
    "SENTRY_DSN",
    r"https?://\w+@[^\s/]+(/[^\s]*)?/\d+",
    "the DSN of a project at Sentry, such as https://key@sentry.example.com/1",
    default="",
)
OTEL_EXPORTER_OTLP_ENDPOINT = read_text(
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    r"https?://[^\s/@]+(/[^\s]*)?",
    "the address of a collector that takes OTLP over HTTP, such as http://127.0.0.1:4318",
    default="",
)
if SENTRY_DSN:
    report_errors(SENTRY_DSN)
if OTEL_EXPORTER_OTLP_ENDPOINT:
    send_traces(OTEL_EXPORTER_OTLP_ENDPOINT)

UNFOLD = {
    "SITE_TITLE": "Billing Back Office",
    "SITE_HEADER": "Billing Back Office",
    "SITE_SYMBOL": "account_balance_wallet",
    "SITE_URL": None,
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": lambda request: static("billing/favicon.svg"),
        }
    ],
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "billing.admin.home.dashboard",
    "SIDEBAR": SIDEBAR,
    "ACCOUNT": {
        "navigation": [
            {"title": "Change password", "link": reverse_lazy("admin:password_change")},
            {"title": "Second factor", "link": reverse_lazy("mfa_index")},
            {"title": "My sessions", "link": reverse_lazy("access_sessions")},
            {"title": "My log-ins", "link": reverse_lazy("access_history")},
        ]
    },
    "COMMAND": {"search_callback": "billing.admin.anything.palette"},
    "SCRIPTS": [
        lambda request: static("billing/htmx.js"),
        lambda request: static("billing/search.js"),
    ],
    "STYLES": [lambda request: static("billing/charts.css")],
}
