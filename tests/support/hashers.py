"""Password hashing that is fast in the tests, and read by the processes that they start."""

from django.contrib.auth.hashers import PBKDF2PasswordHasher


class FastHasher(PBKDF2PasswordHasher):
    """Django's own hashes, made with one iteration."""

    iterations = 1
