"""What opens a customer's page, and what does not: a link is good for one customer, for a while."""

import string
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.core.signing import Signer, dumps
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from billing import signed_links
from billing.models import BillingCustomer, OperationRecord
from billing.operations.base import new_key
from billing.operations.registry import undo
from billing.signed_links import Link, UnusableLinkError
from tests.admin import rows
from tests.operations.shop import BOB, record_of
from tests.selfservice.visits import Visitor, link_for, path_of, text_of

pytestmark = pytest.mark.django_db
LATER = datetime.now(UTC) + timedelta(days=1)
ASK_ANEW = "ask us for a new link"


def opens_nothing(visitor: Visitor, path: str) -> bytes:
    """The page of a link that does not work, the same for all of them."""
    response = visitor.client.get(path)
    assert response.status_code == 404
    assert ASK_ANEW in text_of(response)
    assert response["Cache-Control"] == "no-store, private"
    assert response["X-Robots-Tag"] == "noindex, nofollow"
    return bytes(response.content)


def test_a_link_opens_the_page_until_it_expires(visitor: Visitor) -> None:
    rows.customer()
    now = datetime.now(UTC)
    url = link_for(rows.CUSTOMER, hours=2)
    visitor.opens(url)
    with time_machine.travel(now + timedelta(hours=1, minutes=59)):
        visitor.opens(url)
    with time_machine.travel(now + timedelta(hours=2, seconds=2)):
        opens_nothing(visitor, path_of(url))
        assert visitor.clicks_manage_billing().status_code == 404


def test_a_link_works_without_its_last_slash(visitor: Visitor) -> None:
    rows.customer()
    assert "Your billing" in visitor.opens(link_for(rows.CUSTOMER).rstrip("/"))


def test_a_link_that_was_called_back_opens_nothing(visitor: Visitor) -> None:
    rows.customer()
    key = new_key()
    url, other = link_for(rows.CUSTOMER, key=key), link_for(rows.CUSTOMER)
    undo(record_of(key), **BOB).apply()
    opens_nothing(visitor, path_of(url))
    visitor.opens(other)


@pytest.mark.parametrize(
    "change",
    [{"deleted": True}, {"user_id": "u_other"}, {"user_id": None}],
    ids=["deleted", "merged", "nobody's"],
)
def test_a_customer_who_is_gone_or_became_another_has_no_page(
    visitor: Visitor, change: dict[str, object]
) -> None:
    """Whoever has the old link was not meant to see the other user's invoices."""
    rows.customer()
    url = link_for(rows.CUSTOMER)
    with rows.writing():
        BillingCustomer.objects.update(**change)
    opens_nothing(visitor, path_of(url))


def test_all_that_does_not_work_is_answered_alike(visitor: Visitor) -> None:
    """Nothing tells an expired link from a damaged or an invented one."""
    rows.customer()
    expired = Link(new_key(), datetime.now(UTC) - timedelta(days=1)).token
    unknown = Link(new_key(), LATER).token
    pages = {
        opens_nothing(visitor, f"/billing/{token}/")
        for token in (expired, unknown, "x", "x.y", "cus_Ada", "u_ada", "%00", "%ff", "a/b/c/", "é")
    }
    assert len(pages) == 1


@pytest.mark.parametrize(
    "place", ["first", "middle", "dot", "signature", "last", "missing", "more"]
)
def test_a_damaged_link_opens_nothing(visitor: Visitor, place: str) -> None:
    rows.customer()
    path = path_of(link_for(rows.CUSTOMER))
    token = path.removeprefix("/billing/").removesuffix("/")
    at = {
        "first": 0,
        "middle": token.index(".") // 2,
        "dot": token.index("."),
        "signature": token.index(".") + 5,
        "last": len(token) - 1,
    }
    if place in at:
        for other in "Aa9_-.":
            if token[at[place]] != other:
                damaged = token[: at[place]] + other + token[at[place] + 1 :]
                opens_nothing(visitor, f"/billing/{damaged}/")
    else:
        opens_nothing(visitor, f"/billing/{token[:-1] if place == 'missing' else token + 'A'}/")


def test_a_signature_is_good_for_one_link_alone() -> None:
    mine, other = Link("a", LATER).token, Link("b", LATER).token
    longer = Link("a", LATER + timedelta(days=1)).token
    for foreign in (other, longer):
        mixed = f"{foreign.partition('.')[0]}.{mine.partition('.')[2]}"
        with pytest.raises(UnusableLinkError):
            signed_links.read(mixed)
    assert signed_links.read(mine) == Link("a", LATER.replace(microsecond=0))


def test_what_was_signed_for_something_else_is_no_link() -> None:
    """Sessions, password resets and messages are signed with the same key, and other salts."""
    said = ["a", int(LATER.timestamp())]
    for foreign in (dumps(said), Signer(sep=".").sign_object(said)):
        with pytest.raises(UnusableLinkError):
            signed_links.read(foreign)


def test_another_secret_key_opens_nothing(settings: Settings) -> None:
    token = Link("a", LATER).token
    settings.SECRET_KEY = "another-key-of-more-than-fifty-characters-and-as-random"
    with pytest.raises(UnusableLinkError):
        signed_links.read(token)


@pytest.mark.parametrize("said", [[], ["a"], "ab", {"a": 1}, 5, None, ["a", "b"], ["a", 10**20]])
def test_a_signed_text_of_another_shape_is_no_link(said: object) -> None:
    signer = Signer(salt=signed_links.SALT, sep=".")
    with pytest.raises(UnusableLinkError):
        signed_links.read(signer.sign_object(said))


@given(st.text(alphabet=string.ascii_letters + string.digits + "_-.=", max_size=300))
def test_nobody_guesses_a_link(token: str) -> None:
    with pytest.raises(UnusableLinkError):
        signed_links.read(token)


@given(st.text(max_size=2_000))
def test_whatever_is_sent_as_a_link_is_refused(token: str) -> None:
    with pytest.raises(UnusableLinkError):
        signed_links.read(token)


def test_only_the_record_of_a_link_is_one(visitor: Visitor) -> None:
    """The key of another operation, signed or not, opens nothing; nor does one that failed."""
    rows.customer()
    key = new_key()
    link_for(rows.CUSTOMER, key=key)
    path = f"/billing/{Link(key, LATER).token}/"
    assert visitor.client.get(path).status_code == 200
    for change in ({"name": "create_portal_link"}, {"status": OperationRecord.Status.FAILED}):
        before = OperationRecord.objects.filter(key=key).values("name", "status")[0]
        OperationRecord.objects.filter(key=key).update(**change)
        opens_nothing(visitor, path)
        OperationRecord.objects.filter(key=key).update(**before)


@pytest.mark.parametrize("path", ["/billing", "/billing/"])
def test_without_a_link_the_page_says_to_use_it(client: Client, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 200
    assert "Please use the link that we sent you" in text_of(response)
    assert response["X-Robots-Tag"] == "noindex, nofollow"


def test_search_engines_are_told_to_stay_away(client: Client) -> None:
    response = client.get("/robots.txt")
    assert response["Content-Type"].startswith("text/plain")
    assert "Disallow: /billing/\n" in response.content.decode()
    assert "Disallow: /admin/\n" in response.content.decode()
