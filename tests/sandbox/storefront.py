"""A sandbox with something on sale, and a browser of sorts that visits its pages."""

import re
from dataclasses import dataclass
from html import unescape
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.sandbox.server import SandboxProcess

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"


@dataclass
class Storefront:
    """What is on sale in `sandbox`: a pack, a plan and a bigger plan."""

    sandbox: SandboxProcess
    name: str = "Leads"

    def __post_init__(self) -> None:
        product = self.post("/v1/products", name=self.name)["id"]
        self.product = product
        self.pack = self.price(unit_amount=1500)
        self.plan = self.price(unit_amount=2900, **{"recurring[interval]": "month"})
        self.bigger = self.price(unit_amount=9900, **{"recurring[interval]": "month"})

    def price(self, *, currency: str = "usd", **fields: Any) -> str:
        """A new price."""
        made = self.post("/v1/prices", product=self.product, currency=currency, **fields)
        return str(made["id"])

    def post(self, path: str, /, **data: Any) -> Any:
        """What Stripe's API answers to a POST."""
        return self.sandbox.post(path, data).raise_for_status().json()

    def get(self, path: str, **params: Any) -> Any:
        """What Stripe's API answers to a GET."""
        return self.sandbox.get(path, **params).raise_for_status().json()

    def customer(self, card: str | None = "pm_card_visa", **fields: Any) -> str:
        """A new customer who pays with `card`."""
        data = {"email": "ada@example.com", "name": "Ada", **fields}
        if card:
            data |= {"payment_method": card, "invoice_settings[default_payment_method]": card}
        return str(self.post("/v1/customers", **data)["id"])

    def session(self, price: str | None = None, mode: str = "payment", **fields: Any) -> Any:
        """An open checkout session for two of `price`."""
        data = {"mode": mode, "success_url": "https://shop.example/done?s={CHECKOUT_SESSION_ID}"}
        data["cancel_url"] = "https://shop.example/cart"
        if mode != "setup":
            price = price or (self.pack if mode == "payment" else self.plan)
            data |= {"line_items[0][price]": price, "line_items[0][quantity]": "2"}
        return self.post("/v1/checkout/sessions", **data | fields)

    def subscription(self, customer: str) -> str:
        """A new subscription to the plan."""
        data = {"customer": customer, "items[0][price]": self.plan}
        return str(self.post("/v1/subscriptions", **data)["id"])

    def invoice(self, customer: str, amount: int = 5000, **fields: Any) -> Any:
        """An open invoice of one line."""
        made = self.post("/v1/invoices", customer=customer, auto_advance="false")["id"]
        item = {"description": "Leads", "currency": "usd", **fields}
        self.post("/v1/invoiceitems", customer=customer, invoice=made, amount=amount, **item)
        return self.post(f"/v1/invoices/{made}/finalize")

    def portal(self, customer: str) -> str:
        """The address of a new session of the billing portal."""
        back = "https://shop.example/account"
        made = self.post("/v1/billing_portal/sessions", customer=customer, return_url=back)
        return str(made["url"])

    def types_since(self, event: str | None) -> list[str]:
        """The types of the events after `event`, oldest first."""
        options = {"ending_before": event} if event else {}
        return [
            one["type"] for one in reversed(self.get("/v1/events", limit=100, **options)["data"])
        ]

    def last_event(self) -> str | None:
        """The id of the newest event."""
        events = self.get("/v1/events", limit=1)["data"]
        return events[0]["id"] if events else None

    def visit(self, address: str, status: int = 200) -> str:
        """The text of a page, without its markup; `address` is a URL of the sandbox or a path."""
        answer = self.sandbox.http.get(self.sandbox.url + path_of(address))
        assert answer.status_code == status, answer.text
        return text_of(answer.text)

    def submit(self, address: str, **form: str) -> httpx.Response:
        """What is answered to a form as the sandbox's own page sends it."""
        headers = {"Origin": self.sandbox.url, "Sec-Fetch-Site": "same-origin"}
        path = self.sandbox.url + path_of(address)
        return self.sandbox.http.post(path, data=form, headers=headers)

    def follow(self, address: str, **form: str) -> str:
        """The text of the page to which a form leads."""
        answer = self.submit(address, **form)
        assert answer.status_code == 303, text_of(answer.text)
        return self.visit(answer.headers["location"])


def path_of(address: str) -> str:
    """The path and query of an address."""
    parts = urlsplit(address)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def text_of(page: str) -> str:
    """What a reader sees of a page."""
    body = page.partition("<body>")[2] or page
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", body))).strip()
