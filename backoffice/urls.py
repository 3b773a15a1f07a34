"""The addresses: the webhook, the admin, and the root that leads to it."""

from django.contrib import admin
from django.urls import path, re_path
from django.views.generic import RedirectView

from billing.ingress.views import stripe_webhook

urlpatterns = [
    re_path(r"^webhooks/stripe/?$", stripe_webhook, name="stripe-webhook"),
    path("admin/", admin.site.urls),
    path("", RedirectView.as_view(pattern_name="admin:index")),
]
