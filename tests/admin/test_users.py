"""Users and roles: a superuser's business, whatever permissions others were given."""

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.urls import reverse

from tests.admin.conftest import LogIn

pytestmark = pytest.mark.django_db

PASSWORD = "a-Long-passphrase-1"


@pytest.mark.parametrize("model", ["user", "group"])
def test_only_superusers_reach_them(log_in: LogIn, model: str) -> None:
    client = log_in("engineer")
    engineer = User.objects.get(username="engineer")
    engineer.user_permissions.set(Permission.objects.filter(content_type__app_label="auth"))
    row = engineer.pk if model == "user" else Group.objects.get(name="engineer").pk
    for name, arguments in (("changelist", []), ("add", []), ("change", [row]), ("delete", [row])):
        address = reverse(f"admin:auth_{model}_{name}", args=arguments)
        assert client.get(address).status_code == 403
        assert client.post(address, {}).status_code == 403
    superuser = log_in("superuser")
    assert superuser.get(reverse(f"admin:auth_{model}_changelist")).status_code == 200
    assert superuser.get(reverse(f"admin:auth_{model}_change", args=[row])).status_code == 200


def test_a_superuser_makes_a_user_and_gives_a_role(log_in: LogIn) -> None:
    client = log_in("superuser")
    data = {"username": "grace", "password1": PASSWORD, "password2": PASSWORD}
    response = client.post(reverse("admin:auth_user_add"), {**data, "usable_password": "true"})
    grace = User.objects.get(username="grace")
    assert grace.check_password(PASSWORD)
    address = reverse("admin:auth_user_change", args=[grace.pk])
    assert response["Location"] == address
    support = Group.objects.get(name="support")
    data = {"username": "grace", "is_active": "on", "is_staff": "on", "groups": [str(support.pk)]}
    joined = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    assert client.post(address, {**data, **joined}).status_code == 302
    assert list(grace.groups.all()) == [support]
    page = client.get(reverse("admin:auth_user_changelist")).content.decode()
    assert "grace" in page
    assert "support" in page
