"""How gunicorn serves the back office: gunicorn --config deploy/gunicorn.conf.py backoffice.wsgi

On the command line, and in GUNICORN_CMD_ARGS, each of these can be given another value. A
malformed variable of the back office's own is named in one sentence, before anything is served.
"""

import os
from pathlib import Path

# The logger needs the settings before the application is loaded.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backoffice.settings")

bind = "0.0.0.0:8000"
workers = 2  # processes; with `threads`, so many connections to the database at most: 2 * 4
threads = 4

# On SIGTERM no request is accepted any more, and those under way are finished, for so long.
# Whoever stops it must wait a little longer (TimeoutStopSec, stop_grace_period).
graceful_timeout = 30  # seconds
timeout = 60  # seconds for which a process may give no sign of life

# A proxy that keeps its connections open must not find them closed just then.
keepalive = 75  # seconds

control_socket_disable = True
logger_class = "backoffice.serving.Logger"
# Signs of life go to memory where that can be, and not to a disk that may hang.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
