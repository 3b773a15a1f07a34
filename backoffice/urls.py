"""The addresses: the webhook, the customers' billing page, the admin, and the root."""

from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView

from billing.ingress.views import stripe_webhook
from billing.selfservice.views import robots, without_link

urlpatterns = [
    re_path(r"^webhooks/stripe/?$", stripe_webhook, name="stripe-webhook"),
    path("billing", without_link),
    path("billing/", include("billing.selfservice.urls")),
    path("robots.txt", robots),
    path("admin/", include("billing.admin.access.urls")),
    path("admin/finance/", include("billing.admin.finance.urls")),
    path("admin/", admin.site.urls),
    path("", RedirectView.as_view(pattern_name="admin:index")),
]
