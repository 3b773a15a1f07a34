"""The addresses of finance, inside the admin."""

from django.contrib import admin
from django.urls import path

from billing.admin.finance import pages, views

app_name = "admin_finance"
view = admin.site.admin_view
urlpatterns = [
    path("<slug:name>/", view(pages.report_view), name="report"),
    path("<slug:name>/rows/", view(pages.rows_view), name="rows"),
    path("<slug:name>/file.<slug:kind>", view(pages.export_view), name="export"),
    path("<slug:name>/views/", view(views.save), name="save_view"),
    path("<slug:name>/views/remove/", view(views.remove), name="remove_view"),
]
