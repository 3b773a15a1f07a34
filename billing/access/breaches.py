"""New passwords are looked up among those that were in breaches (OWASP ASVS 5.0.0, V6.2.12)."""

from django.conf import settings
from pwned_passwords_django.api import PwnedPasswords
from pwned_passwords_django.validators import PwnedPasswordsValidator


class BreachedPasswordValidator(PwnedPasswordsValidator):
    """Asks the service at BREACHED_PASSWORDS_URL, which hears five digits of the password's hash.

    Where it does not answer within a second, Django's list of common passwords decides, which was
    made of the same data: nobody is locked out because another service is down.
    """

    def __init__(self) -> None:
        client = PwnedPasswords()
        client.api_endpoint = settings.BREACHED_PASSWORDS_URL
        super().__init__(
            error_message="This password was in a breach somewhere: whoever has that list tries it."
            " Choose another one.",
            help_message="It must not have been in a breach anywhere.",
            api_client=client,
        )
