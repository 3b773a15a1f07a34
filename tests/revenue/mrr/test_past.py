"""What was before the first event that we have, from the subscription and its invoices."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from djstripe.models import Account

from billing.gateway.observation import Observation
from billing.mirror import store
from billing.models import BillingSubscription, SubscriptionState
from billing.projection.intake import bring_in
from billing.revenue.mrr import facts
from tests.operations.shop import Shop
from tests.revenue.mrr.events import DAY, START, Told, changes, items, price, states
from tests.sandbox.server import SandboxProcess

pytestmark = pytest.mark.django_db
