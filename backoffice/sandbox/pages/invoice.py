"""The hosted invoice, its PDF, and the receipt of a charge: where their URLs lead."""

from starlette.responses import Response

from backoffice.sandbox.errors import ApiError, no_such
from backoffice.sandbox.lifecycle import invoicing
from backoffice.sandbox.pages import layout, methods, pdf
from backoffice.sandbox.pages.html import Html, h
from backoffice.sandbox.pages.layout import day, money
from backoffice.sandbox.pages.web import Visit, go, page, show
from backoffice.sandbox.resources.invoices import pay_invoice
from backoffice.sandbox.routing import Call
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work

STATES = {
    "paid": "This invoice is paid. Thank you.",
    "void": "This invoice was cancelled. There is nothing to pay.",
    "uncollectible": "This invoice was written off. It can still be paid.",
}
PAYABLE = ("open", "uncollectible")
SAVED = "saved"


def finalized(work: Work, id: str) -> Json:  # noqa: A002
    """The invoice `id`; 404 for a draft, which no customer sees."""
    invoice = work.find("invoice", id)
    if invoice["status"] == "draft":
        raise no_such("invoice", id)
    return invoice


@page("GET", "/i/{id}")
def invoice_page(visit: Visit) -> Response:
    """An invoice, and the form that pays it."""
    work = visit.work
    invoice = finalized(work, visit.id)
    link = h("p", h("a", "Download as PDF", href=f"/i/{invoice['id']}/pdf"))
    columns = h("div.columns", h("div", _summary(work, invoice), link), _payment(visit, invoice))
    return show(f"Invoice {invoice['number']}", columns)


def _summary(work: Work, invoice: Json) -> Html:
    currency = invoice["currency"]
    rows = [
        h("li", h("span", line["description"]), h("strong", money(line["amount"], currency)))
        for line in invoicing.all_lines(work, invoice)
    ]
    return h(
        "section.order",
        h("h1", f"Invoice {invoice['number']}"),
        h("p.amount", money(invoice["amount_due"], currency)),
        layout.facts(
            ("Status", layout.badge(invoice["status"])),
            ("For", _addressee(invoice)),
            ("Issued", day(invoice["effective_at"])),
            ("Due", day(invoice["due_date"]) if invoice["due_date"] else "on receipt"),
        ),
        h("ul.lines", rows),
        layout.facts(
            ("Paid", money(invoice["amount_paid"], currency)),
            ("Still to pay", money(_remaining(invoice), currency)),
        ),
    )


def _addressee(invoice: Json) -> str:
    return str(invoice["customer_name"] or invoice["customer_email"] or invoice["customer"])


def _remaining(invoice: Json) -> int:
    """What is still asked for: nothing once it is void."""
    return int(invoice["amount_remaining"]) if invoice["status"] in PAYABLE else 0


def _payment(visit: Visit, invoice: Json) -> Html:
    """What can be done about the invoice now."""
    work = visit.work
    state = STATES.get(invoice["status"])
    if invoice["status"] not in PAYABLE:
        return h("section.card", h("h2", "Payment"), h("p", state))
    if on_its_way(work, invoice):
        text = "A payment is on its way. A bank debit takes days; you need to do nothing."
        return h("section.card", h("h2", "Payment"), h("p", text))
    return h(
        "section.card",
        h("h2", "Payment"),
        state and h("p", state),
        layout.problem(visit.problem, "Nothing was charged; try another way."),
        layout.form(
            f"/i/{invoice['id']}",
            methods.picker(
                "Payment method (all of them are pretended)",
                _choices(work, invoice),
                visit.entered("method"),
            ),
            button=f"Pay {money(invoice['amount_remaining'], invoice['currency'])}",
            look=".primary.wide",
        ),
    )


def on_its_way(work: Work, invoice: Json) -> bool:
    """Whether a bank debit is under way that may pay the invoice."""
    pair = invoicing.open_payment(work, invoice)
    return pair is not None and pair[1]["status"] == "processing"


def _choices(work: Work, invoice: Json) -> list[methods.Choice]:
    """The customer's own payment method first, then those that anybody can try."""
    choices = methods.offered(["card", "us_bank_account"])
    if saved := invoicing.paying_method(work, invoice):
        choices.insert(0, methods.Choice(SAVED, methods.describe(saved), "on file"))
    return choices


@page("POST", "/i/{id}", again=invoice_page)
def pay(visit: Visit) -> Response:
    """The customer pays, with a method of theirs or a new one."""
    work = visit.work
    invoice = finalized(work, visit.id)
    if invoice["status"] in PAYABLE and not on_its_way(work, invoice):
        params = {}
        if visit.entered("method") != SAVED:
            choices = _choices(work, invoice)
            billing = {"email": invoice["customer_email"], "name": invoice["customer_name"]}
            made = methods.make(work, visit.entered("method"), choices, **billing)
            params["payment_method"] = made["id"]
        pay_invoice(Call(work, params, {"id": invoice["id"]}))
    return go(f"/i/{invoice['id']}")


@page("GET", "/i/{id}/pdf")
def invoice_pdf(visit: Visit) -> Response:
    """The invoice as a PDF."""
    work = visit.work
    invoice = finalized(work, visit.id)
    currency, number = invoice["currency"], invoice["number"]
    rows: list[pdf.Line] = [
        (layout.MARK, ""),
        ("", ""),
        ("Status", invoice["status"]),
        ("For", _addressee(invoice)),
        ("Issued", day(invoice["effective_at"])),
        ("", ""),
        *(
            (line["description"] or "", money(line["amount"], currency))
            for line in invoicing.all_lines(work, invoice)
        ),
        ("", ""),
        *(
            (f"Tax, {tax['tax_behavior']}", money(tax["amount"], currency))
            for tax in invoice["total_taxes"]
        ),
        ("Total", money(invoice["total"], currency)),
        ("Paid", money(invoice["amount_paid"], currency)),
        ("Still to pay", money(_remaining(invoice), currency)),
    ]
    name = f'inline; filename="Invoice-{invoice["id"]}.pdf"'
    content = pdf.document(f"Invoice {number}", rows)
    return Response(content, media_type="application/pdf", headers={"Content-Disposition": name})


@page("GET", "/r/{id}")
def receipt(visit: Visit) -> Response:
    """The receipt of a charge that was paid."""
    work = visit.work
    charge = work.find("charge", visit.id)
    if charge["status"] != "succeeded":
        raise ApiError(404, f"There is no receipt for charge '{visit.id}', which is not paid")
    currency = charge["currency"]
    method = work.get("payment_method", charge["payment_method"])
    rows = [
        ("Paid", layout.when(charge["created"])),
        ("By", methods.describe(method) if method else "–"),
        ("To", charge["billing_details"]["email"] or charge["receipt_email"] or "–"),
        ("For", charge["description"] or "Payment"),
    ]
    if charge["amount_refunded"]:
        rows.append(("Refunded", money(charge["amount_refunded"], currency)))
    return show(
        "Receipt",
        h(
            "section.card.narrow",
            h("h1", "Receipt"),
            h("p.amount", money(charge["amount"], currency)),
            layout.facts(*rows, ("Number", charge["id"])),
        ),
    )
