"""Ids in the style of Stripe's."""

import random
import secrets
import string

ALPHABET = string.ascii_letters + string.digits
LENGTHS = {"cus_": 14, "prod_": 14, "si_": 14, "req_": 14, "cs_test_a1": 58, "whsec_": 32}
ATTEMPTED = {"pi_", "ch_", "re_"}


class Ids:
    """Makes ids; with a seeded generator the same ones in the same order.

    Where an id names its mode, it is `test` unless `livemode`.
    """

    def __init__(self, rng: random.Random | None = None, *, livemode: bool = False) -> None:
        self._rng = rng or random.Random(secrets.randbits(256))  # noqa: S311
        self._livemode = livemode

    def new(self, prefix: str) -> str:
        """A new id that starts with `prefix`, such as `sub_`."""
        length = LENGTHS.get(prefix)
        if length is None:
            prefix += "3" if prefix in ATTEMPTED else "1"
            length = 23
        if self._livemode:
            prefix = prefix.replace("_test_", "_live_")
        return prefix + "".join(self._rng.choices(ALPHABET, k=length))
