"""What must not stand in a log: the secret addresses of customers' billing pages."""

import logging
import re

# What is signed, a dot, and its signature: other addresses below /billing/ are no secrets.
SECRET = re.compile(r"(/billing/)[\w=%-]{10,}(?:\.|%2E)[\w=%.-]{10,}", re.IGNORECASE)
HIDDEN = r"\1(link)"


class WithoutLinks(logging.Filter):
    """Lets every line pass, with the secret part of `/billing/<secret>/` taken out of it."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            said = record.getMessage()
        except (TypeError, ValueError):  # the handler reports it
            return True
        if SECRET.search(said):
            record.msg, record.args = SECRET.sub(HIDDEN, said), ()
        return True
