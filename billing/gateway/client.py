"""Requests to Stripe: plain JSON in and out, and three kinds of error.

It goes through the `stripe` package (keys, retries, idempotency, errors), but reads the
answers as plain dictionaries: the package's own objects are slow in bulk, and no longer
dictionaries (STRIPE.md, Versions and shapes).
"""

import json
import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, TypeVar, cast

import orjson
import stripe
from django.conf import settings
from django.db import connection
from django.utils import timezone

from billing.gateway.observation import Observation, StripeDict
from billing.gateway.pace import is_bulk, wait_for_turn
from billing.gateway.shapes import clean

PAGE_SIZE = 100  # the most that Stripe gives at once
TIMEOUT = 30  # seconds for one request
NETWORK_RETRIES = 2
# Seconds before a request that was one too many is made again. Stripe names no time to wait, its
# limits are per second, and its package leaves the backing off to us.
BUSY_PAUSES = (0.5, 1.0, 2.0, 4.0)
# Seconds before bulk work asks again where Stripe failed: it is not to start anew for that.
FAILURE_PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0)
LISTS_AT_ONCE = 4  # whose next pages are read ahead; more of them wait for their turn
LONG_AGO = datetime.min.replace(tzinfo=UTC)

# How an object of each kind is retrieved. `{}` takes its id.
PATHS = {
    "account": "/v1/accounts/{}",
    "balance_transaction": "/v1/balance_transactions/{}",
    "charge": "/v1/charges/{}",
    "checkout.session": "/v1/checkout/sessions/{}",
    "customer": "/v1/customers/{}",
    "dispute": "/v1/disputes/{}",
    "event": "/v1/events/{}",
    "invoice": "/v1/invoices/{}",
    "invoice_payment": "/v1/invoice_payments/{}",
    "invoiceitem": "/v1/invoiceitems/{}",
    "payment_intent": "/v1/payment_intents/{}",
    "payment_method": "/v1/payment_methods/{}",
    "payout": "/v1/payouts/{}",
    "price": "/v1/prices/{}",
    "product": "/v1/products/{}",
    "refund": "/v1/refunds/{}",
    "setup_intent": "/v1/setup_intents/{}",
    "subscription": "/v1/subscriptions/{}",
    "subscription_item": "/v1/subscription_items/{}",
}


Key = TypeVar("Key")
Answer = TypeVar("Answer")


class GatewayError(Exception):
    """Stripe did not do what was asked. The text is a sentence for people."""


class StripeUnavailableError(GatewayError):
    """Stripe did not answer, or asked to come back later: worth another try."""


class StripeBusyError(StripeUnavailableError):
    """Stripe was asked more often than its rate limits allow."""


class StripeSilentError(StripeUnavailableError):
    """Nothing came back at all: the network, or a time-out."""


class StripeRefusedError(GatewayError):
    """Stripe said no, and will say so again until something changes."""


class StripeDeclinedError(StripeRefusedError):
    """A bank or card network declined a payment; the text has its reason."""


class StripeNotFoundError(StripeRefusedError):
    """Stripe knows no object with this id (in this mode, in this account)."""


class StripeForbiddenError(StripeRefusedError):
    """The key is a restricted one, and may not do this."""


class StripeNotConfiguredError(StripeRefusedError):
    """There is no key to talk to Stripe with."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list, with the moment of its reading."""

    data: list[StripeDict]
    has_more: bool
    not_before: datetime
    not_after: datetime
    fetched_at: datetime

    def observations(self) -> list[Observation]:
        return [
            Observation(item, self.not_before, self.not_after, self.fetched_at)
            for item in self.data
        ]


@dataclass
class Gateway:
    """Stripe's API with one key. `calls` counts the requests made."""

    api_key: str
    api_base: str
    api_version: str
    calls: int = field(default=0)

    def __post_init__(self) -> None:
        self._client = stripe.StripeClient(
            self.api_key,
            stripe_version=self.api_version,
            base_addresses={"api": self.api_base},
            max_network_retries=NETWORK_RETRIES,
            http_client=stripe.RequestsClient(timeout=TIMEOUT),
        )
        # Its threads stay, and with them their connections to Stripe.
        self._ahead = ThreadPoolExecutor(LISTS_AT_ONCE, thread_name_prefix="stripe")

    def request(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> tuple[StripeDict, Mapping[str, str]]:
        """One request: the answer's JSON and its headers.

        Raises a `GatewayError`, and `RuntimeError` inside a transaction: a slow answer
        would hold the database's locks.
        """
        self._refuse_inside_a_transaction()
        return self._send(method, path, params or {}, idempotency_key)

    def _send(
        self, method: str, path: str, params: Mapping[str, Any], idempotency_key: str | None = None
    ) -> tuple[StripeDict, Mapping[str, str]]:
        """The request, made again later while Stripe says that there are too many of them."""
        for pause in BUSY_PAUSES:
            try:
                return self._send_once(method, path, params, idempotency_key)
            except StripeBusyError:
                time.sleep(random.uniform(pause / 2, pause))  # noqa: S311
        return self._send_once(method, path, params, idempotency_key)

    def _send_once(
        self, method: str, path: str, params: Mapping[str, Any], idempotency_key: str | None
    ) -> tuple[StripeDict, Mapping[str, str]]:
        """The package's own request, of which only the answer's text is read by us.

        `StripeClient.raw_request` would decode it into OrderedDicts first, which takes
        longer than all else that a page of a list needs.
        """
        if is_bulk():
            wait_for_turn()
        requestor = self._client._requestor
        with _silence_remembered(), translated_errors():
            self.calls += 1
            body, status, headers = requestor.request_raw(
                method,
                path,
                params=params,
                options={"idempotency_key": idempotency_key} if idempotency_key else None,
                base_address="api",
                api_mode="V1",
                usage=["raw_request"],
            )
            if not 200 <= status < 300:
                requestor._interpret_response(body, status, headers, "V1")
        return decode(cast(bytes | str, body)), headers

    def retrieve(self, kind: str, object_id: str, *, expand: tuple[str, ...] = ()) -> Observation:
        """One object as it is now.

        Raises StripeNotFoundError for an id that Stripe does not know, the other
        `GatewayError`s, and ValueError for a kind that cannot be retrieved.
        """
        if kind not in PATHS:
            raise ValueError(f"Objects of type {kind} cannot be retrieved.")
        check_id(object_id)
        params = {"expand": list(expand)} if expand else {}
        with _reading(database_clock()) as moment:
            data, moment.headers = self.request("get", PATHS[kind].format(object_id), params)
        return Observation(
            data,
            moment.not_before,
            moment.not_after,
            moment.fetched_at,
            deleted=bool(data.get("deleted")),
        )

    def post(
        self, path: str, params: Mapping[str, Any] | None = None, *, idempotency_key: str
    ) -> StripeDict:
        """Changes something at Stripe, once for each idempotency key."""
        return self.request("post", path, params, idempotency_key=idempotency_key)[0]

    def page(self, path: str, params: Mapping[str, Any] | None = None) -> Page:
        """One page of a list, 100 objects unless `params` say otherwise."""
        self._refuse_inside_a_transaction()
        return self._page(path, params or {}, database_clock())

    def at_once(self, requests: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Page]:
        """The first page of several lists, asked for together: they take as long as one."""
        self._refuse_inside_a_transaction()
        now = database_clock()
        coming = [self._ahead.submit(self._page, path, params, now) for path, params in requests]
        return [page.result() for page in coming]

    def pages(self, path: str, params: Mapping[str, Any] | None = None) -> Iterator[Page]:
        """Every page of a list, to its end or to an error: never a part that looks whole.

        The next page is on its way while the caller works on this one.
        """
        page = self.page(path, params)
        while page.has_more:
            if not page.data:
                raise StripeUnavailableError(f"Stripe's list at {path} broke off.")
            self._refuse_inside_a_transaction()
            following = {**(params or {}), "starting_after": page.data[-1]["id"]}
            coming = self._ahead.submit(self._page, path, following, database_clock())
            yield page
            page = coming.result()
        yield page

    def lists_at_once(
        self, lists: Iterable[tuple[Key, str, Mapping[str, Any]]]
    ) -> Iterator[tuple[Key, Page]]:
        """Every page of many lists, some lists at a time, each list's pages in their order.

        For bulk work: at its pace (billing.gateway.pace), and patient where Stripe fails for a
        moment. The last page of a list is the one without `has_more`. Raises a GatewayError
        where a list breaks off: what came of it before is a part and no whole.
        """
        waiting = iter(lists)
        under_way: dict[Future[Page], tuple[Key, str, Mapping[str, Any]]] = {}

        def ask(key: Key, path: str, params: Mapping[str, Any]) -> None:
            self._refuse_inside_a_transaction()
            wait_for_turn()
            now = database_clock()
            coming = self._ahead.submit(patiently, lambda: self._page(path, params, now))
            under_way[coming] = (key, path, params)

        try:
            for _, one in zip(range(LISTS_AT_ONCE), waiting, strict=False):
                ask(*one)
            while under_way:
                done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for coming in done:
                    key, path, params = under_way.pop(coming)
                    page = coming.result()
                    if page.has_more and not page.data:
                        raise StripeUnavailableError(f"Stripe's list at {path} broke off.")
                    if page.has_more:
                        ask(key, path, {**params, "starting_after": page.data[-1]["id"]})
                    elif (following := next(waiting, None)) is not None:
                        ask(*following)
                    yield key, page
        finally:
            for coming in under_way:
                coming.cancel()

    def _page(self, path: str, params: Mapping[str, Any], fetched_at: datetime) -> Page:
        with _reading(fetched_at) as moment:
            data, moment.headers = self._send("get", path, {"limit": PAGE_SIZE, **params})
        items = data.get("data")
        if not isinstance(items, list):
            raise StripeUnavailableError(f"Stripe's answer to {path} was not a list.")
        return Page(
            items,
            bool(data.get("has_more")),
            moment.not_before,
            moment.not_after,
            moment.fetched_at,
        )

    def _refuse_inside_a_transaction(self) -> None:
        if connection.in_atomic_block and not settings.STRIPE_CALLS_IN_TRANSACTION:
            raise RuntimeError("No request to Stripe inside a database transaction.")


@contextmanager
def _reading(fetched_at: datetime) -> "Iterator[_Moment]":
    moment = _Moment(fetched_at, time.monotonic())
    yield moment
    moment.close()


@dataclass
class _Moment:
    fetched_at: datetime
    started: float
    headers: Mapping[str, str] = field(default_factory=dict)
    not_before: datetime = LONG_AGO
    not_after: datetime = LONG_AGO

    def close(self) -> None:
        """Stripe's own clock says when it answered; it read the object before that."""
        elapsed = math.ceil(time.monotonic() - self.started)
        try:
            answered = parsedate_to_datetime(self.headers["Date"]).astimezone(UTC)
        except (KeyError, TypeError, ValueError):
            answered = self.fetched_at.replace(microsecond=0) + timedelta(seconds=elapsed)
        self.not_before = answered - timedelta(seconds=elapsed)
        self.not_after = answered


def decode(body: bytes | str) -> StripeDict:
    """An answer's JSON, without what PostgreSQL refuses: rare, so only then a second look."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    try:
        has_oddities = "\\u0000" in text or "\\ud" in text
        data = clean(json.loads(text)) if has_oddities else orjson.loads(text)
    except ValueError as error:
        raise StripeUnavailableError("Stripe's answer was not JSON.") from error
    if not isinstance(data, dict):
        raise StripeUnavailableError("Stripe's answer was not a JSON object.")
    return data


_looking: ContextVar[bool] = ContextVar("looking", default=False)


@contextmanager
def only_looking() -> Iterator[None]:
    """Within it no object that is read is stored: no request asks the database for the time."""
    token = _looking.set(True)
    try:
        yield
    finally:
        _looking.reset(token)


def database_clock() -> datetime:
    """The database's time now, which all our processes share; ours, for who is only looking."""
    if _looking.get():
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment = cursor.fetchone()[0]
    assert isinstance(moment, datetime)  # noqa: S101  (narrows the type)
    return moment


def check_id(object_id: str) -> None:
    """Raises StripeNotFoundError for a text that cannot be an id, before it makes a path."""
    if not object_id or len(object_id) > 255 or not object_id.replace("_", "").isalnum():
        raise StripeNotFoundError(f"{object_id[:60]!r} is not an id of Stripe's.")


_silence: ContextVar[list[StripeSilentError] | None] = ContextVar("silence", default=None)


@contextmanager
def giving_up_on_silence() -> Iterator[list[StripeSilentError]]:
    """Within it, after one request without any answer the others fail at once.

    For work on many objects: each would wait its own minutes for a network that is gone. Gives
    the silence that there was, if any; one within another shares it.
    """
    outer = _silence.get()
    so_far: list[StripeSilentError] = [] if outer is None else outer
    token = _silence.set(so_far)
    try:
        yield so_far
    finally:
        _silence.reset(token)


def patiently(ask: Callable[[], Answer]) -> Answer:
    """The answer to a bulk request, asked for again while Stripe fails for the moment."""
    for pause in FAILURE_PAUSES:
        try:
            return ask()
        except StripeUnavailableError:
            time.sleep(random.uniform(pause / 2, pause))  # noqa: S311
    return ask()


@contextmanager
def _silence_remembered() -> Iterator[None]:
    so_far = _silence.get()
    if so_far:
        raise StripeSilentError(str(so_far[0]))
    try:
        yield
    except StripeSilentError as error:
        if so_far is not None:
            so_far.append(error)
        raise


@contextmanager
def translated_errors() -> Iterator[None]:
    """The package's many errors as the few that make a difference to us."""
    try:
        yield
    except stripe.RateLimitError as error:
        raise StripeBusyError(f"Stripe could not be reached: {describe(error)}") from error
    except stripe.APIConnectionError as error:
        # The package's own message is many lines of advice on whom to write to.
        why = type(error.__cause__ or error).__name__
        raise StripeSilentError(f"Stripe could not be reached: no answer ({why}).") from error
    except stripe.APIError as error:
        raise StripeUnavailableError(f"Stripe could not be reached: {describe(error)}") from error
    except stripe.PermissionError as error:
        raise StripeForbiddenError(f"Stripe refused: {describe(error)}") from error
    except stripe.InvalidRequestError as error:
        if error.http_status == 404 or error.code == "resource_missing":
            raise StripeNotFoundError(f"Stripe does not know it: {describe(error)}") from error
        raise StripeRefusedError(f"Stripe refused: {describe(error)}") from error
    except stripe.CardError as error:
        raise StripeDeclinedError(f"Stripe refused: {describe(error)}") from error
    except stripe.StripeError as error:
        raise StripeRefusedError(f"Stripe refused: {describe(error)}") from error


def describe(error: stripe.StripeError) -> str:
    """Stripe's own message, why a bank declined, status and the request's id, without any key."""
    message = (error.user_message or "no message").splitlines()[0][:300]
    declined = getattr(error.error, "decline_code", None)
    parts = [message, *([str(declined).replace("_", " ")] if declined else [])]
    parts.append(f"HTTP {error.http_status}" if error.http_status else "no answer")
    if error.request_id:
        parts.append(f"request {error.request_id}")
    return f"{parts[0]} ({', '.join(parts[1:])})"


def gateway() -> Gateway:
    """Stripe, as the settings say. Raises StripeNotConfiguredError without a key."""
    if not settings.STRIPE_SECRET_KEY:
        raise StripeNotConfiguredError("STRIPE_SECRET_KEY is not set: Stripe cannot be asked.")
    return _gateway(
        settings.STRIPE_SECRET_KEY, settings.STRIPE_API_BASE, settings.STRIPE_API_VERSION
    )


@lru_cache(maxsize=4)
def _gateway(api_key: str, api_base: str, api_version: str) -> Gateway:
    return Gateway(api_key, api_base, api_version)
