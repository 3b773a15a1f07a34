"""What people type, checked before anything is read: ids and numbers."""

from billing.operations.base import InvalidInputError

MAX_ID = 255  # characters; Stripe's own limit


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
