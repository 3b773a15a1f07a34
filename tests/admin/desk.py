"""A browser before the back office, and what its tests do there again and again."""

from dataclasses import dataclass, field

from django.contrib.auth.models import Group, User
from django.urls import reverse
from playwright.sync_api import ConsoleMessage, Page, ViewportSize, expect

from tests.support.back_office import BackOffice

expect.set_options(timeout=20_000)  # milliseconds, for machines with much else to do

PASSWORD = "a-Long-passphrase-1"
PHONE: ViewportSize = {"width": 390, "height": 844}


@dataclass
class Desk:
    """A browser before the back office, and whatever went wrong in it."""

    office: BackOffice
    page: Page
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: self.errors.append(f"dialog: {dialog.message}"))

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error" and "favicon.ico" not in message.location["url"]:
            self.errors.append(message.text)

    def open(self, path: str) -> None:
        response = self.page.goto(self.office.url + path)
        assert response is not None
        assert response.status == 200, path

    def log_in(self, role: str) -> None:
        """As a user of that name and role, through the form."""
        user = User.objects.create_user(role, password=PASSWORD, is_staff=True)
        user.groups.set(Group.objects.filter(name=role))
        self.page.context.clear_cookies()
        self.open(reverse("admin:login"))
        self.page.get_by_label("Username").fill(role)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.keyboard.press("Enter")
        expect(self.page.get_by_role("heading", name="Webhooks")).to_be_visible()


def say_why(page: Page, words: str) -> None:
    """Answers what every operation asks."""
    page.get_by_label("Reason", exact=True).select_option("webhook_missed")
    page.get_by_label("In your own words").fill(words)
