"""Users and roles are shown to those who look after access, and changed by operations alone."""

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.urls import reverse

from tests.admin.conftest import LogIn

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("model", ["user", "group"])
def test_only_those_who_look_after_access_see_them(log_in: LogIn, model: str) -> None:
    client = log_in("engineer")
    engineer = User.objects.get(username="engineer")
    engineer.user_permissions.set(Permission.objects.filter(content_type__app_label="auth"))
    row = engineer.pk if model == "user" else Group.objects.get(name="engineer").pk
    for name, arguments in (("changelist", []), ("add", []), ("change", [row]), ("delete", [row])):
        address = reverse(f"admin:auth_{model}_{name}", args=arguments)
        assert client.get(address).status_code == 403
        assert client.post(address, {}).status_code == 403
    for role in ("superuser", "administrator"):
        client = log_in(role)
        assert client.get(reverse(f"admin:auth_{model}_changelist")).status_code == 200
        page = client.get(reverse(f"admin:auth_{model}_change", args=[row]))
        assert page.status_code == 200
        assert "_save" not in page.content.decode()


@pytest.mark.parametrize("model", ["user", "group"])
def test_nobody_edits_them_here_not_even_a_superuser(log_in: LogIn, model: str) -> None:
    client = log_in("superuser")
    me = User.objects.get(username="superuser")
    sue = User.objects.create_user("sue", "sue@example.com", is_staff=True)
    row = sue.pk if model == "user" else Group.objects.get(name="support").pk
    engineer = str(Group.objects.get(name="engineer").pk)
    wanted = {"username": "sue", "is_superuser": "on", "is_staff": "on", "groups": [engineer]}
    more = {"name": "support", "permissions": ["1"], "email": "eve@example.com"}
    for name, arguments in (("add", []), ("change", [row]), ("delete", [row])):
        address = reverse(f"admin:auth_{model}_{name}", args=arguments)
        assert client.post(address, {**wanted, **more, "post": "yes"}).status_code == 403
    password = reverse("admin:auth_user_password_change", args=[sue.pk])
    taken = {"password1": "a-Long-passphrase-2", "password2": "a-Long-passphrase-2"}
    assert client.post(password, taken).status_code == 403
    sue.refresh_from_db()
    assert (sue.is_superuser, sue.email, sue.groups.count()) == (False, "sue@example.com", 0)
    assert not sue.has_usable_password()
    assert set(User.objects.all()) == {me, sue}


def test_a_users_page_leads_to_what_can_be_done(log_in: LogIn) -> None:
    client = log_in("administrator")
    sue = User.objects.create_user("sue", is_staff=True)
    page = client.get(reverse("admin:auth_user_change", args=[sue.pk])).content.decode()
    for name in ("change-rights", "switch-off-account", "reset-second-factor"):
        assert f"{reverse('admin:billing_operation', args=[name])}?target=sue" in page
    form = client.get(reverse("admin:billing_operation", args=["change-rights"]), {"target": "sue"})
    assert "An account that is there" in form.content.decode()
