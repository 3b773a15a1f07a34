"""What an engineer does when something is wrong: the product's commands, in a sensible order.

They know nothing of what was broken but what the product says, and when an outage began, which
somebody told them.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from django.conf import settings

from backoffice.drill.faults import Place, Word
from backoffice.drill.judge import Judge
from backoffice.drill.life import Life
from backoffice.drill.stand import PATIENCE, Command, Said, Stand

ROUNDS = 5  # of reconciling and mending, before somebody else has to look
TRIES = 5  # of draining the inbox
Kill = Callable[[Command], None]
"""Kills a command at some moment."""
STEPS = (
    "restart",
    "restore",
    "recover_restore",
    "endpoint",
    "secret",
    "drain",
    "outage",
    "assess",
    "reconcile",
    "fix",
    "attribute",
)


class Engineer:
    """Recovers the stand. `leaves_out` are steps that are not done, to see that this is noticed."""

    def __init__(
        self, stand: Stand, life: Life, judge: Judge, leaves_out: frozenset[str] = frozenset()
    ) -> None:
        self.stand = stand
        self.life = life
        self.judge = judge
        self.leaves_out = leaves_out
        self.refusals = Counter[str]()  # by reason, at the last look
        self.refused: list[str] = []
        self.outage_since = ""
        self.is_told_of_damage = False
        self.is_suspicious = False  # somebody has been seen in psql
        self.restores_killed: list[Kill] = []
        self.recoveries_killed: list[Kill] = []
        self.left: list[dict[str, Any]] = []  # findings that nothing has mended
        self.head = ""  # the last hash of the audit log that was noted, outside of it

    def does(self, step: str) -> bool:
        return step not in self.leaves_out

    def run(self, *arguments: str) -> Said:
        """A command. One that is called wrongly, or cannot do its work, is a word of its own."""
        return self.heard(self.stand.manage(*arguments))

    def heard(self, said: Said) -> Said:
        if said.code not in (0, 1):
            self.judge.hear([Word(Place.COMMAND, said.command.split()[0], text=str(said))])
        return said

    def bring_back(self) -> None:
        """The service: what is dead runs again, Stripe's deliveries arrive and are processed."""
        self.stand.server.ensure_running()
        self.restore()
        self.restart()
        self.look()
        self.put_endpoint_right()
        self.put_secret_right()
        self.drain()

    def mend(self) -> None:
        """The books: what was missed is recovered, until nothing is left to do."""
        self.recover_outage()
        if self.is_suspicious:
            self.is_suspicious = False
            self.assess("--quick")
        if self.does("attribute"):
            self.life.attribute()
        self.reconcile()
        self.verify_audit()

    def restart(self) -> None:
        """Whatever is dead is started again."""
        for name, start in (("web", self.stand.start_web), ("worker", self.stand.start_worker)):
            if self.does("restart") and not self.stand.is_running(name):
                start()

    def back_up(self) -> None:
        """A verified backup: what was touched before is in it, and what was under way may be in it
        as such. From then on there are backups."""
        under_way = self.stand.under_way()
        settings.BACKUP_FOLDER = str(self.stand.folder / "backups")
        self.run("backup", "--reason", "As every night", "--json")
        self.life.since_backup = under_way

    def restore(self) -> None:
        """After the news that the database is damaged or gone: the newest backup takes its place,
        and what happened since is brought back."""
        if not self.is_told_of_damage:
            return
        self.is_told_of_damage = False
        is_there = self.stand.has_database()
        if (is_there and not self.assess()) or not self.does("restore"):
            return
        if not is_there:
            self.run("assess", "--json")
        for name in ("web", "worker"):
            self.stand.kill(name)
        self.interrupted(("restore", "latest", "--yes", "--json"), self.restores_killed)
        if self.does("recover_restore"):
            self.interrupted(("recover_restore", "--yes", "--json"), self.recoveries_killed)
            self.judge.hear(self.missed())

    def interrupted(self, arguments: tuple[str, ...], kills: list[Kill]) -> Said:
        """A command that is killed a few times before it comes to its end."""
        while kills:
            kills.pop(0)(self.stand.begin(*arguments))
        return self.again(*arguments)

    def look(self) -> None:
        """What fires, and what was refused."""
        said = self.run("check_alerts", "--json")
        open_ = self.stand.value("SELECT count(*) FROM billing_findings WHERE state = 'open'")
        self.judge.hear(
            Word(Place.ALERT, alert["rule"], text=alert["title"])
            for alert in said.document.get("alerts", [])
            # It says how many findings are open; each of these is looked at by itself.
            if alert["rule"] != "findings" or not open_
        )
        self.refused = self.newly_refused()
        self.judge.hear(Word(Place.REFUSED, reason) for reason in self.refused)

    def newly_refused(self) -> list[str]:
        """Why requests to the webhook were refused since the last look."""
        counts = Counter[str]()
        for reason, count in self.stand.rows(
            "SELECT reason, count FROM billing_webhook_rejections"
        ):
            counts[reason] += count
        more = counts - self.refusals
        self.refusals = counts
        return list(more)

    def put_endpoint_right(self) -> None:
        """At Stripe: it is enabled, and has our address."""
        said = self.run("check_webhooks", "--json")
        failed = [check for check in said.document.get("checks", []) if not check["ok"]]
        self.judge.hear(Word(Place.WEBHOOKS, c["name"], text=c["detail"]) for c in failed)
        if {check["name"] for check in failed} & {"endpoint", "enabled"} and self.does("endpoint"):
            self.stand.sandbox.make(
                f"webhook_endpoints/{self.stand.endpoint}",
                url=f"{settings.PUBLIC_URL}/webhooks/stripe",
                disabled="false",
            )

    def put_secret_right(self) -> None:
        """After wrong signatures: is the secret the one that Stripe's dashboard shows?"""
        if "wrong signature" not in self.refused or not self.does("secret"):
            return
        shown = dashboard_secret(self.stand)
        if [shown] != settings.STRIPE_WEBHOOK_SECRETS:
            settings.STRIPE_WEBHOOK_SECRETS = [shown]
            self.stand.kill("web")
            self.stand.start_web()

    def drain(self) -> None:
        """What Stripe still tries comes in, and what waits in the inbox is processed."""
        if not self.does("drain"):
            return
        self.stand.deliver()
        for _ in range(TRIES):
            if not self.run("process_inbox", "--drain", "--json", "--skip-checks").code:
                return

    def recover_outage(self) -> None:
        """What an outage lost, from when somebody said that it began. Killed, it is run again."""
        if not self.outage_since or not self.does("outage"):
            return
        arguments = ("recover_outage", "--since", self.outage_since, "--json")
        self.interrupted(arguments, self.recoveries_killed)
        self.judge.hear(self.missed())
        self.outage_since = ""

    def again(self, *arguments: str) -> Said:
        """A command, again for a while: the database may not know yet that one was killed, and the
        worker reconciles by itself, too."""
        deadline = time.monotonic() + PATIENCE
        while "under way" in (said := self.stand.manage(*arguments)).errors:
            if time.monotonic() > deadline:
                break
            time.sleep(0.3)
        return self.heard(said)

    def missed(self) -> list[Word]:
        """What recoveries have listed as missed, and what their reconciliations found."""
        listed = self.stand.rows(
            "SELECT missed_as, stripe_event_id, object_id, customer_id FROM billing_missed_events"
        )
        found = self.stand.rows(
            "SELECT f.kind, f.subject, f.user_id, f.stripe_customer_id FROM billing_findings f"
            " JOIN billing_recoveries r ON f.last_seen_at >= r.started_at"
        )
        return [
            *(Word(Place.RECOVERY, how, frozenset(about) - {""}) for how, *about in listed),
            *(Word(Place.FINDING, kind, frozenset(about) - {""}) for kind, *about in found),
        ]

    def assess(self, *options: str) -> list[str]:
        """Is the database whole? The checks that found damage."""
        if not self.does("assess"):
            return []
        said = self.run("assess", "--json", *options)
        damaged = [c for c in said.document.get("checks", []) if c["verdict"] == "damaged"]
        users = frozenset(said.document.get("users", []))
        self.judge.hear(Word(Place.ASSESSMENT, c["name"], users, c["detail"]) for c in damaged)
        return [
            f"{check['name']}: {check['detail']}"
            for check in damaged
            if not self.judge.is_scarred(row["id"] for row in check["rows"])
        ]

    def reconcile(self) -> None:
        """Compares, mends what is safe, and what a person decides; until nothing is left."""
        if not self.does("reconcile"):
            return
        for _ in range(ROUNDS):
            self.stand.let_a_second_pass()
            run = self.again("reconcile", "full", "--fix", "--grace", "0", "--json")
            findings = run.document.get("findings", [])
            for each in findings:
                said = f"{each['state']} {each['kind']} {each['subject']}: {each['verdict']}"
                self.stand.say(f"      {said} {each['fix']}")
            self.judge.hear(map(as_word, findings))
            self.left = [each for each in findings if each["state"] == "open"]
            if not self.left:
                return
            for finding in one_of_each(self.left):
                self.decide(finding)

    def decide(self, finding: dict[str, Any]) -> None:
        """What is left to a person."""
        if finding["fix"] and self.does("fix"):
            self.run(
                *("fix_finding", str(finding["number"]), "--json"),
                *("--reason", "The drill's engineer has looked at it"),
            )

    def verify_audit(self) -> None:
        """Is the audit log as it was, up to the hash that was noted the last time?"""
        expect = ["--expect", self.head] if self.head else []
        said = self.run("verify_audit", "--json", *expect)
        broken = said.document.get("broken")
        self.judge.hear([Word(Place.AUDIT, "broken", text=broken)] if broken else [])
        self.head = said.document.get("head") or self.head


def one_of_each(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first of each user's, a balance that is off its ledger before all others.

    What is recommended for one was worked out as things were then: after it somebody looks again.
    """
    first: dict[str, dict[str, Any]] = {}
    for finding in sorted(findings, key=lambda each: each["kind"] != "balance_differs"):
        first.setdefault(finding["user_id"] or finding["subject"], finding)
    return list(first.values())


def as_word(finding: dict[str, Any]) -> Word:
    about = {finding["subject"], finding["user_id"], finding["customer"], *ids_in(finding["fix"])}
    about |= {item.get("id") for item in finding["evidence"] if isinstance(item, dict)}
    named = frozenset(each for each in about if isinstance(each, str) and each)
    return Word(Place.FINDING, finding["kind"], named, finding["verdict"][:200])


def ids_in(value: Any) -> Iterator[str]:
    """Every text in JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from ids_in(each)


def dashboard_secret(stand: Stand) -> str:
    """The endpoint's signing secret, as Stripe's dashboard shows it."""
    query = "SELECT secret FROM secrets WHERE endpoint = ?"
    return str(stand.sandbox.ask(query, stand.endpoint)[0][0])
