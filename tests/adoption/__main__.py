"""How long adopting takes, and whom it keeps waiting: `python -m tests.adoption [ROWS]`.

Makes a foreign database on an embedded server of its own, with so many rows in all (2,000,000
unless said), adopts it while a stand-in application claims leads, and prints what it measured.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psycopg

from backoffice.postgres import BASE_DIR, EmbeddedServer
from tests.adoption import foreign
from tests.support.environment import child_environment

ROWS = 2_000_000
FILL = """
    INSERT INTO billing_customers (user_id, email, stripe_customer_id)
    SELECT gen_random_uuid(), 'u' || n || '@example.com', 'cus_' || n
    FROM generate_series(1, %(n)s) n;
    INSERT INTO lead_credits SELECT user_id, 1000, now() FROM billing_customers;
    INSERT INTO billing_subscriptions (user_id, stripe_subscription_id, status, price_id)
    SELECT user_id, 'sub_' || id, 'active', 'price_1' FROM billing_customers;
    INSERT INTO billing_invoices (user_id, stripe_invoice_id, status, amount_paid)
    SELECT user_id, 'in_' || id || '_' || n, 'paid', 4900
    FROM billing_customers, generate_series(1, 2) n;
    INSERT INTO lead_claims (user_id, lead_id)
    SELECT user_id, gen_random_uuid() FROM billing_customers, generate_series(1, 2) n;
    INSERT INTO billing_events (type, payload)
    SELECT 'invoice.paid', json_build_object('id', stripe_invoice_id, 'customer', 'cus_1')
    FROM billing_invoices, generate_series(1, 2) n LIMIT %(n)s * 3;
    CREATE INDEX ON lead_credits (user_id);
"""


class Claims(threading.Thread):
    """Claims one lead after the other, and notes how long the longest took, in milliseconds."""

    def __init__(self, url: str, users: list[str]) -> None:
        super().__init__()
        self.url, self.users = url, users
        self.done, self.failed, self.longest = 0, 0, 0.0
        self.is_over = threading.Event()

    def run(self) -> None:
        with psycopg.connect(self.url) as db:
            while not self.is_over.wait(0.02):
                began = time.monotonic()
                try:
                    user = self.users[self.done % len(self.users)]
                    db.execute(
                        "UPDATE lead_credits SET balance = balance - 1"
                        " WHERE user_id = %s AND balance >= 1",
                        [user],
                    )
                    db.execute(
                        "INSERT INTO lead_claims (user_id, lead_id) VALUES (%s, gen_random_uuid())",
                        [user],
                    )
                    db.commit()
                    self.done += 1
                except psycopg.Error as error:
                    print(error)  # noqa: T201
                    self.failed += 1
                    db.rollback()
                self.longest = max(self.longest, (time.monotonic() - began) * 1000)


def measure(url: str, rows: int) -> None:
    with psycopg.connect(url) as db:
        db.execute(foreign.SCRIPT)
        people = max(rows // 10, 1)
        for statement in FILL.replace("%(n)s", str(people)).split(";"):
            if statement.strip():
                db.execute(statement)
        found = db.execute("SELECT user_id::text FROM lead_credits LIMIT 100").fetchall()
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("VACUUM ANALYZE")
    claims = Claims(url, [row[0] for row in found])
    claims.start()
    for what in ("--check", "--apply"):
        claims.longest = 0.0
        began = time.monotonic()
        done = subprocess.run(
            ["/usr/bin/time", "-v", sys.executable, "manage.py", "adopt", what],
            cwd=BASE_DIR,
            env=child_environment(DATABASE_URL=url),
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - began
        peak = re.search(r"Maximum resident set size \(kbytes\): (\d+)", done.stderr)
        memory = f"{int(peak[1]) // 1024} MB" if peak else "?"
        print(f"{what}: {seconds:,.1f} s, {memory} at most, exit code {done.returncode}")  # noqa: T201
        print(f"  claims so far: {claims.done:,}, failed: {claims.failed}")  # noqa: T201
        print(f"  the longest claim meanwhile took {claims.longest:,.0f} ms")  # noqa: T201
    claims.is_over.set()
    claims.join()


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    folder = Path(tempfile.mkdtemp(prefix="adoption-", dir="/tmp"))
    folder.chmod(0o711)
    server = EmbeddedServer(folder / "postgres", durable=False)
    try:
        server.ensure_running()
        measure(server.url(), rows)
    finally:
        server.destroy()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
