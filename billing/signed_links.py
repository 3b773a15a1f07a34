"""The addresses of customers' own billing pages: signed, expiring, and guessed by nobody.

An address carries the key of the operation that made it and the moment at which it expires.
Whose page it opens, the operation's record says (billing.selfservice.access), so that an
address tells nothing, and can be called back.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from django.conf import settings
from django.core.signing import BadSignature, Signer
from django.utils import timezone

MAX_TOKEN = 1_000  # characters; a longer text is not looked at
SALT = "billing.signed_links"


class UnusableLinkError(Exception):
    """The link is damaged, foreign, expired or called back. Which of these, nobody is told."""


@dataclass(frozen=True, slots=True)
class Link:
    """What a link says: the key of the operation that made it, and when it expires (UTC)."""

    key: str
    expires_at: datetime

    @property
    def token(self) -> str:
        return _signer().sign_object([self.key, int(self.expires_at.timestamp())])

    @property
    def url(self) -> str:
        """The address of the page, for the customer."""
        return f"{settings.PUBLIC_URL}/billing/{self.token}/"


def read(token: str) -> Link:
    """The link of a token. Raises UnusableLinkError for one that is damaged or has expired."""
    if len(token) > MAX_TOKEN:
        raise UnusableLinkError
    try:
        key, expires = _signer().unsign_object(token)
        link = Link(key, datetime.fromtimestamp(expires, UTC))
    # Whatever decoding makes of a text: only a signed one comes that far.
    except (BadSignature, ValueError, TypeError, OverflowError) as error:
        raise UnusableLinkError from error
    if link.expires_at <= timezone.now():
        raise UnusableLinkError
    return link


def _signer() -> Signer:
    return Signer(salt=SALT, sep=".")
