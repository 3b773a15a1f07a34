"""What gunicorn needs of ours: its own log lines look like all others."""

import logging.config
from typing import Any

from django.conf import settings
from gunicorn.glogging import Logger as GunicornLogger


class Logger(GunicornLogger):
    """gunicorn's, with our formatter: its lines about failed requests have secret addresses."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)  # type: ignore[no-untyped-call]
        logging_: dict[str, Any] = settings.LOGGING
        chosen = dict(logging_["formatters"][settings.LOG_FORMAT])
        formatter = logging.config.DictConfigurator(logging_).configure_formatter(chosen)
        for log in (self.error_log, self.access_log):
            for handler in log.handlers:
                handler.setFormatter(formatter)
