"""A customer before the page: a link made by an agent, and what they read behind it."""

import re
from dataclasses import dataclass, field
from html import unescape
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.test import Client

from billing.operations.billing_page import CreateBillingLink
from tests.operations.shop import BOB

# Stripe's ids of anything that a customer has no use for.
IDS = re.compile(r"\b(?:cus|sub|in|pi|ch|evt|price|prod|pm|re|dp|du|il|si|txn|cs|bps)_\w+")


def link_for(who: str, **more: Any) -> str:
    """The address that an agent makes and passes on."""
    return CreateBillingLink(customer=who, **{**BOB, **more}).apply().once


def path_of(url: str) -> str:
    return url.removeprefix(settings.PUBLIC_URL)


def text_of(response: HttpResponse) -> str:
    """What a person reads on the page."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", response.content.decode())).split())


@dataclass
class Visitor:
    """A browser without a log-in. `url` is that of the link that was opened last."""

    client: Client
    url: str = field(default="")

    def opens(self, url: str) -> str:
        """What the page behind a link says."""
        self.url = url
        response = self.client.get(path_of(url))
        assert response.status_code == 200, text_of(response)
        return text_of(response)

    def clicks_manage_billing(self) -> HttpResponse:
        return self.client.post(f"{path_of(self.url)}portal/")
