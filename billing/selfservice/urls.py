"""The addresses below /billing/: without a link, with one, its button, and all others."""

from django.urls import re_path

from billing.selfservice import views

urlpatterns = [
    re_path(r"^$", views.without_link, name="billing-without-link"),
    re_path(r"^(?P<token>[A-Za-z0-9_.=-]+)/$", views.billing_page, name="billing-page"),
    re_path(r"^(?P<token>[A-Za-z0-9_.=-]+)$", views.billing_page),
    re_path(r"^(?P<token>[A-Za-z0-9_.=-]+)/portal/$", views.manage_billing, name="billing-portal"),
    re_path(r"^(?P<rest>.*)$", views.unusable),
]
