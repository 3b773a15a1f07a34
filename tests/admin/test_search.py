"""The search as the admin shows it: one opens, several are listed, Stripe knows the rest."""

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from billing.admin.cells import changelist_url, page_url
from billing.models import BillingCustomer, BillingPayment, LeadCredits
from tests.admin import rows
from tests.admin.conftest import LogIn, count_queries
from tests.admin.rows import HOSTILE
from tests.operations.shop import Shop
from tests.sandbox.server import SandboxProcess

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(sandbox: SandboxProcess) -> Shop:
    """A shop that the back office knows nothing of yet."""
    return Shop(sandbox)


def searched(client: Client, term: str) -> str:
    """The page that a search shows. Fails where it opens something else."""
    answer = client.get(reverse("admin:billing_search"), {"q": term})
    assert answer.status_code == 200, answer.headers.get("Location")
    return str(answer.content.decode())


def opened(client: Client, term: str) -> str:
    """Where a search leads."""
    answer = client.get(reverse("admin:billing_search"), {"q": term})
    assert answer.status_code == 302
    return str(answer["Location"])


def test_one_hit_opens_the_customer(support: Client) -> None:
    ada = rows.customer()
    rows.subscription()
    rows.invoice()
    for term in ("ada@", "Ada", "u_ada", "cus_Ada", "sub_1", "in_1", "NUMBER-in_1"):
        assert opened(support, term) == page_url(ada), term
    rows.grant("u_lone", 5)
    assert opened(support, "u_lone") == page_url(LeadCredits.objects.get(user_id="u_lone"))


def test_several_are_listed_with_enough_to_choose_by(support: Client) -> None:
    ada = rows.customer()
    other = rows.customer("u_two", "cus_two", name="Ada Two", livemode=True)
    rows.subscription(status="past_due")
    rows.grant(amount=1250)
    page = searched(support, "ada@example.com")
    assert "2 found" in page
    for words in (page_url(ada), page_url(other), "past due", "1,250", "u_two", "live", "test"):
        assert words in page, words


def test_nothing_found_says_what_can_be_searched_for(support: Client) -> None:
    page = searched(support, "nobody@example.com")
    assert "Nothing here has “nobody@example.com”" in page
    assert "Stripe can be asked for what is not here by its id only" in page
    assert "4242 49.00" in page
    page = searched(support, "")
    assert "What can be searched for" in page
    assert "Nothing here has" not in page
    assert "add the amount or the date" in searched(support, "4242")


def test_what_is_typed_and_stored_is_text(support: Client) -> None:
    for number in range(2):
        rows.customer(f"u_{number}", f"cus_{number}", email=f"{number}{HOSTILE}", name=HOSTILE)
    page = searched(support, "<script>")
    assert "2 found" in page
    assert "<script>alert" not in page
    for term in (HOSTILE, "\x00", "x" * 5000, "%", "9" * 40):
        assert "<script>alert" not in searched(support, term)


def test_what_only_stripe_has_is_shown_and_brought_in(support: Client, shop: Shop) -> None:
    """The button leads to the sync with everything filled in; then the search opens her."""
    subscribed = shop.subscribe()
    page = searched(support, subscribed["subscription"])
    assert "Stripe was asked" in page
    assert "Sync from Stripe" in page
    assert subscribed["customer"] in page
    assert f"kind=subscription&amp;target={subscribed['subscription']}" in page
    shop.deliver()
    ada = BillingCustomer.objects.get()
    assert opened(support, subscribed["subscription"]) == page_url(ada)


def test_of_whom_it_is_is_shown_where_they_are_known(support: Client, shop: Shop) -> None:
    subscribed = shop.subscribe()
    shop.deliver()
    page = searched(support, shop.event_of("invoice.paid").replace("evt_", "evt_no"))
    assert "Stripe knows no event" in page
    later = shop.buy(customer=subscribed["customer"])
    page = searched(support, later["charge"])
    assert "Whose it is" in page
    assert page_url(BillingCustomer.objects.get()) in page


def test_a_role_that_may_not_bring_it_in_has_no_button(shop: Shop) -> None:
    subscribed = shop.subscribe()
    looker = User.objects.create_user("looker", is_staff=True)
    looker.user_permissions.add(Permission.objects.get(codename="view_billingcustomer"))
    client = Client()
    client.force_login(looker, backend="django.contrib.auth.backends.ModelBackend")
    page = searched(client, subscribed["subscription"])
    assert "Your role may not" in page
    assert "kind=subscription" not in page


def test_a_dead_stripe_is_said_and_can_be_asked_again(support: Client, shop: Shop) -> None:
    shop.sandbox.control("faults", path="/v1/*", status=500)
    page = searched(support, "cus_unknown")
    assert "Stripe could not be reached" in page
    assert "Ask Stripe again" in page


def test_only_who_may_see_customers_may_search(log_in: LogIn) -> None:
    rows.customer()
    nobody = log_in("nobody")
    assert nobody.get(reverse("admin:billing_search"), {"q": "ada"}).status_code == 403
    assert 'id="search-anything"' not in nobody.get(reverse("admin:index")).content.decode()
    assert "/login/" in opened(Client(), "ada")


def test_every_page_has_the_search(support: Client) -> None:
    ada = rows.customer()
    for path in (reverse("admin:index"), changelist_url(BillingCustomer), page_url(ada)):
        page = support.get(path).content.decode()
        assert 'id="search-anything"' in page, path
        assert "billing/search.js" in page, path


def test_the_palette_is_the_same_search(support: Client, shop: Shop) -> None:
    def palette(term: str) -> str:
        answer = support.get(reverse("admin:search"), {"s": term, "extended": "1"})
        return str(answer.content.decode())

    ada = rows.customer()
    rows.subscription("sub_MixedCase")
    assert f'href="{page_url(ada)}"' in palette("sub_MixedCase")
    assert 'data-description="Subscription sub_MixedCase"' in palette("sub_MixedCase")
    page = palette("cus_unknown")
    assert "Look cus_unknown up at Stripe" in page
    assert f"{reverse('admin:billing_search')}?q=cus_unknown" in page
    assert "No results" in palette("zzzzz")
    assert "No results" in palette("\x00")


def test_a_search_takes_as_many_statements_however_many_it_lists(support: Client) -> None:
    for number in range(2):
        rows.customer(f"u_{number}", f"cus_{number}")
    few = count_queries(lambda: searched(support, "ada@example.com"))
    for number in range(2, 40):
        rows.customer(f"u_{number}", f"cus_{number}")
        rows.subscription(f"sub_{number}", stripe_customer_id=f"cus_{number}")
        rows.grant(f"u_{number}", 3)
    assert count_queries(lambda: searched(support, "ada@example.com")) == few <= 20


def test_the_list_of_customers_pages_through_all_that_match(support: Client) -> None:
    """More than a search shows: the list has pages, and filters."""
    for number in range(60):
        rows.customer(f"u_{number}", f"cus_{number}")
    page = support.get(changelist_url(BillingCustomer, q="ada@exam", p="2")).content.decode()
    assert "60 results" in page
    assert "cus_0" in page


def test_what_is_nobodys_opens_its_own_page(support: Client) -> None:
    """An event, a guest's payment, a refund of what nobody knows, a price."""
    with rows.writing():
        paid = BillingPayment.objects.create(stripe_charge_id="ch_9", status="succeeded")
    nobodys = {
        "ch_9": paid,
        "evt_1": rows.inbox_event("evt_1", customer_id="", object_id=""),
        "evt_2": rows.event("evt_2", payload={}),
        "re_9": rows.reversal("re_9", payment_intent_id="", charge_id=""),
        "price_1": rows.price("price_1"),
    }
    for term, row in nobodys.items():
        assert opened(support, term) == page_url(row), term
        assert support.get(page_url(row)).status_code == 200
