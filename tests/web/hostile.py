"""What somebody would like to have run, planted wherever a text is kept, and looked for again."""

import csv
import io
import re
import zipfile
from html.parser import HTMLParser
from typing import Any

from django.apps import apps
from django.db import connection
from django.db.models import CharField, F, Field, JSONField, Model, TextField, Value
from django.db.models.functions import Concat

# Markup, the end of an attribute, an address that runs, a template, Markdown, a mention of Slack's,
# a text turned round, a formula of a spreadsheet's, and more of it than any page has room for.
SCRIPT = "<script>alert('x')</script><img src=x onerror=alert(1)><b>"
OUT = "\"'><svg onload=alert(2)>"
TURNED = "\u202egnp.exe\u2066"
MORE = f"{SCRIPT}{OUT}{{{{ 7|add:35 }}}}{{% debug %}} [a](javascript:alert(3)) | <!here> {TURNED}"
FORMULA = '=HYPERLINK("http://evil.example.com","Pay")'
LONG = "long" * 500
HOSTILE = f"{FORMULA}{MORE}{LONG}"
ADDRESS = f"javascript:alert(4)//{HOSTILE}"
RUNS = ("javascript:", "data:", "vbscript:")
TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")

# What is ours to choose from, and what tells rows apart or joins them.
OURS = {
    *("attributed_by", "billing_reason", "category", "currency", "digest", "hash", "item", "key"),
    *("kind", "livemode", "name", "owner_kind", "part", "query", "reason_code", "report", "rule"),
    *("severity", "settled_currency", "source", "stage", "status", "status_before", "subject"),
    *("table_name", "timezone", "type", "zone", "charged_currency", "reconciliation_status"),
    *("cursor", "list", "field", "mode", "body", "target"),
}
NAMES = {"BillingCustomer", "CreditPrice"}  # whose `name` is somebody's text
ADDRESSES = {"hosted_invoice_url", "page"}
# Texts within JSON that are for people.
FOR_PEOPLE = {
    *("advice", "after", "before", "detail", "email", "error", "label", "location", "message"),
    *("metadata", "name", "reason", "said", "summary", "title", "value", "what", "who", "whom"),
}


def is_somebodys(model: type[Model], field: "Field[Any, Any]") -> bool:
    """Whether a column holds what people or Stripe may have written."""
    if not isinstance(field, TextField | CharField) or field.choices or field.unique:
        return False
    if field.primary_key or field.is_relation or field.name.endswith("_id"):
        return False
    return field.name not in OURS or (field.name == "name" and model.__name__ in NAMES)


def plant() -> int:
    """Puts it into every such column of every row of ours; how many columns that are."""
    planted = 0
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        for model in apps.get_app_config("billing").get_models():
            fields = [f for f in model._meta.concrete_fields if is_somebodys(model, f)]
            rows = model._base_manager.all()
            if fields and not model._meta.proxy and rows.exists():
                rows.update(**{f.name: value_of(f) for f in fields})
                planted += len(fields)
            for each in model._meta.concrete_fields:
                if isinstance(each, JSONField) and not model._meta.proxy:
                    for row in rows:
                        said = poisoned(getattr(row, each.name))
                        model._base_manager.filter(pk=row.pk).update(**{each.name: said})
                        planted += 1
        cursor.execute("SET LOCAL session_replication_role = origin")
    return planted


def value_of(field: "Field[Any, Any]") -> Any:
    return ADDRESS if field.name in ADDRESSES else Concat(Value(HOSTILE), F(field.name))


def poisoned(value: Any, name: str = "") -> Any:
    """JSON whose texts for people are hostile, and whose metadata has a hostile key."""
    if isinstance(value, dict):
        made = {key: poisoned(item, key) for key, item in value.items()}
        return made | ({"metadata": {HOSTILE: HOSTILE}} if "metadata" in made else {})
    if isinstance(value, list):
        return [poisoned(item, name) for item in value]
    return HOSTILE + value if isinstance(value, str) and name in FOR_PEOPLE else value


class Page(HTMLParser):
    """Hears what a browser would make of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        fields = {name: value or "" for name, value in attrs}
        if tag == "script" and "src" not in fields:
            # JSON that a script reads is no script; the policy lets no other one run.
            self.wrong += [] if fields.get("type") == "application/json" else ["script"]
        self.wrong += [name for name in fields if name.startswith("on")]
        if fields.get("src") == "x":
            self.wrong.append(f"{tag} of somebody's")
        for name in ("href", "src", "action", "formaction"):
            if fields.get(name, "").strip().lower().startswith(RUNS):
                self.wrong.append(f"{name}={fields[name][:30]}")


def wrong_with_html(html: str) -> list[str]:
    """What a page has that was planted to be run, or read the wrong way round."""
    wrong = Page(html).wrong
    wrong += ["turned text"] if TURNING.search(html) else []
    return wrong + [text for text in (SCRIPT, OUT, "42{% debug %}") if text in html]


def wrong_with_csv(text: str) -> list[str]:
    """Cells that a spreadsheet would run, or show turned round."""
    rows = csv.reader(io.StringIO(text))
    cells = [cell for row in rows for cell in row]
    wrong = [cell[:30] for cell in cells if cell.startswith(("=", "+", "@", "\t", "\r"))]
    wrong += [c[:30] for c in cells if c.startswith("-") and not re.fullmatch(r"-[\d.]*", c)]
    return wrong + (["turned text"] if TURNING.search(text) else [])


def wrong_with_workbook(content: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        text = "".join(opened.read(name).decode() for name in opened.namelist() if "xl/" in name)
    wrong = re.findall(r"<f>|<hyperlink|<t[^>]*>=", text)
    return wrong + (["turned text"] if TURNING.search(text) else [])


def wrong_with_markdown(text: str) -> list[str]:
    markup = ("<script", "<img", "<svg", "[a](")
    wrong = [each for each in markup if re.search(rf"(?<!\\){re.escape(each)}", text)]
    return wrong + (["turned text"] if TURNING.search(text) else [])
