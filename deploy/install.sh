#!/bin/sh
# What the Dockerfile, an installation under systemd and deploy/check.py have in common:
#
#   deploy/install.sh packages VENV   the locked packages, by their hashes, into a new VENV
#   deploy/install.sh static VENV     the static files, collected and compressed
#
# PYTHON names another interpreter than python3, of version 3.11 or newer.
set -eu
cd "$(dirname "$0")/.."
step=$1 venv=$2

case $step in
packages)
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/python" deploy/runtime_requirements.py >"$venv/requirements.txt"
    "$venv/bin/python" -m pip install --quiet --no-input --no-cache-dir \
        --disable-pip-version-check --require-hashes --requirement "$venv/requirements.txt"
    ;;
static)
    # No secret and no database is needed for this, but the settings ask for both.
    DJANGO_DEBUG=false DJANGO_ALLOWED_HOSTS=localhost DATABASE_URL=postgres://none@127.0.0.1:9/none \
        DJANGO_SECRET_KEY=this-key-signs-nothing-it-is-there-while-static-files-are-collected \
        "$venv/bin/python" manage.py collectstatic --no-input --verbosity 0
    ;;
*)
    echo "usage: deploy/install.sh packages|static VENV" >&2
    exit 2
    ;;
esac
