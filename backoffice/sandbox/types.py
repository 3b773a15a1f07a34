"""Types shared by the sandbox's modules."""

from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]
"""A JSON object: a Stripe resource, a part of one, or parsed parameters."""
