"""The alerts' pages: what is so, since when, who was told, and one click to where it is."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from billing.admin.cells import changelist_url, page_url
from billing.alerts.firing import list_page, outage_page
from billing.models import Alert, InboxEvent, LeadCredits, WebhookRejection
from tests.admin import rows

pytestmark = pytest.mark.django_db


def test_open_and_resolved_alerts(support: Client) -> None:
    opened = timezone.now() - timedelta(hours=2)
    now = rows.alert("Events fail", delivery_error="webhook: it answered 503.")
    over = rows.alert(
        "Stripe cannot be reached",
        key="x",
        opened_at=opened,
        resolved_at=opened + timedelta(hours=1),
        told_at=opened,
    )
    found = support.get(changelist_url(Alert, state="open"))
    assert list(found.context["cl"].result_list) == [now]
    assert "In vain" in found.content.decode()
    found = support.get(changelist_url(Alert, state="resolved"))
    assert list(found.context["cl"].result_list) == [over]
    found = support.get(changelist_url(Alert, q="5 of 9"))
    assert list(found.context["cl"].result_list) == [now, over]

    page = support.get(page_url(now)).content.decode()
    assert "Events fail, since" in page
    assert "webhook: it answered 503." in page
    assert f'href="{now.page}"' in page
    assert support.get(now.page).status_code == 200
    page = support.get(page_url(over)).content.decode()
    assert "It lasted 1 hour, from" in page


def test_what_was_not_delivered_leads_to_the_page_that_recovers_it(support: Client) -> None:
    since = timezone.now() - timedelta(hours=2)
    page = support.get(outage_page(since)).content.decode()
    assert f'value="{since:%Y-%m-%dT%H:%M:%S}"' in page


@pytest.mark.parametrize("model", [InboxEvent, LeadCredits, WebhookRejection, Alert])
def test_the_lists_that_alerts_lead_to_are_where_the_admin_has_them(model: type[Alert]) -> None:
    assert list_page(model, state="open") == changelist_url(model, state="open")
