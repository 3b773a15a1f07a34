#!/usr/bin/env python
"""Django's command line, with one clear sentence for a wrong environment."""

import os
import sys

USAGE_ERROR = 2


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backoffice.settings")
    try:
        from django.conf import settings
        from django.core.exceptions import ImproperlyConfigured
        from django.core.management import execute_from_command_line
    except ImportError as error:
        sys.exit(f"{error}. Run `make install`, then use .venv/bin/python.")
    try:
        settings.DATABASES  # noqa: B018  (reads the environment now, inside this try)
        if settings.EMBEDDED_POSTGRES:
            from backoffice.postgres import ensure_running

            ensure_running()
    except ImproperlyConfigured as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(USAGE_ERROR)
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
