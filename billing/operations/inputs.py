"""What people type, checked before anything is read: ids and numbers."""

from datetime import UTC, datetime

from billing.operations.base import InvalidInputError

MAX_ID = 255  # characters; Stripe's own limit
MAX_EVIDENCE = 200  # characters


def user_id(text: str) -> str:
    """The application's id of a user, as text. Raises InvalidInputError."""
    cleaned = text.strip()
    if not cleaned:
        raise InvalidInputError("Give a user id.")
    if len(cleaned) > MAX_ID or not cleaned.isprintable():
        raise InvalidInputError(
            f"A user id is at most {MAX_ID} printable characters, without line breaks."
        )
    return cleaned


def stripe_id(text: str, *prefixes: str) -> str:
    """A Stripe id that begins with one of the prefixes. Raises InvalidInputError."""
    cleaned = text.strip()
    shown = cleaned[:60] if cleaned.isprintable() else "This"
    if not cleaned.startswith(prefixes):
        raise InvalidInputError(
            f"“{shown}” is not an id that is asked for here: those begin with"
            f" {' or '.join(prefixes)}."
        )
    if len(cleaned) > MAX_ID or not cleaned.isascii() or not cleaned.replace("_", "").isalnum():
        raise InvalidInputError(f"“{shown}” is not an id of Stripe's.")
    return cleaned


def whole_number(value: int | str, what: str, *, least: int, most: int) -> int:
    """A whole number from `least` to `most`. Raises InvalidInputError."""
    text = str(value).strip()
    digits = text.removeprefix("-")
    if isinstance(value, bool) or not (digits.isascii() and digits.isdigit()):
        raise InvalidInputError(f"{what} must be a whole number, such as 50.")
    if len(digits) > 30 or not least <= int(text) <= most:
        raise InvalidInputError(f"{what} must be from {least:,} to {most:,}.")
    return int(text)


def evidence(text: str) -> str:
    """What proves a payment elsewhere, in up to 200 characters. Raises InvalidInputError."""
    cleaned = text.strip()
    if not cleaned:
        raise InvalidInputError(
            "Name the evidence: the number of the bank transfer, of the cheque, of the receipt."
        )
    if len(cleaned) > MAX_EVIDENCE or not cleaned.isprintable():
        raise InvalidInputError(
            f"The evidence is at most {MAX_EVIDENCE} printable characters, without line breaks."
        )
    return cleaned


def words(text: str, what: str, *, most: int) -> str:
    """A text of one or several lines that somebody wrote. Raises InvalidInputError."""
    cleaned = text.strip()
    if not cleaned:
        raise InvalidInputError(f"{what} is empty.")
    if len(cleaned) > most:
        raise InvalidInputError(f"{what} is too long: at most {most:,} characters.")
    if "\x00" in cleaned:
        raise InvalidInputError(f"{what} contains a NUL character.")
    return cleaned


def moment(text: str) -> datetime:
    """A date or an ISO 8601 time, UTC unless it says otherwise. Raises InvalidInputError."""
    try:
        found = datetime.fromisoformat(text.strip())
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(
            f"“{text[:60]}” is no date or time: write it like 2026-03-01T09:30."
        ) from error
