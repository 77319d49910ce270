"""The story that ``--check`` plays: three submits at once, one report, two blocked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from django_celery_once.conf import conf
from django_celery_once.locks import open_store
from testproject.demo.asking import Asking
from testproject.demo.findings import Findings, wait_until
from testproject.demo.paper import promised_words, words_found
from testproject.demo.programs import Program
from testproject.demo.site import START_SECONDS, Site
from testproject.demo.staff import Staff
from testproject.reports.months import Month
from testproject.reports.outbox import Mail, mails_in
from testproject.reports.tasks import send_pdf_report

ACCEPTED = "Your monthly report is being prepared and will be mailed to {email}."
#: The submits come from several browsers, and nobody is logged in.
BLOCKED = (
    "This monthly report is already being prepared (started just now). "
    "You don't need to send it again."
)
MOMENT = 15.0


@dataclass(frozen=True)
class Story:
    """The scenes, in their order; each says what it saw."""

    site: Site
    workers: Sequence[Program]
    asking: Asking
    findings: Findings

    def play(self) -> None:
        self.submit_at_once()
        self.read_the_report()
        self.look_as_staff()
        self.ask_again()
        self.let_beat_ask()

    def submit_at_once(self) -> None:
        expect = self.findings.expect
        pages = self.asking.at_once(3)
        expect("three submits at once, status of each page", [p.status for p in pages], [200] * 3)
        told = [message for page in pages for message in page.messages]
        accepted = ACCEPTED.format(email=self.email)
        expect(f"pages that say: {accepted}", told.count(("success", accepted)), 1)
        expect(f"pages that say: {BLOCKED}", told.count(("info", BLOCKED)), 2)
        expect("requests that the page lists", len(self.asking.requests()), 1)

    def read_the_report(self) -> None:
        expect = self.findings.expect
        expect("state of the request in the end", self.asking.states_in_the_end(), ["sent"])
        expect("runs that the workers' logs tell of", self.runs(), 1)
        mails = self.mails()
        expect("mails in the outbox", len(mails), 1)
        promised = promised_words(Month.parse(self.asking.month), self.email)
        expect("words in its PDF", words_found(mails[0], promised), promised)

    def look_as_staff(self) -> None:
        expect = self.findings.expect
        task_id = self.asking.requests()[0][0]
        staff = Staff(self.site, self.asking.addresses[0])
        duplicates = wait_until(
            lambda: staff.duplicates(task_id),
            lambda page: page.cells("blocked") == ["2"],
            MOMENT,
        )
        expect("the admin's list, blocked", duplicates.cells("blocked"), ["2"])
        expect("the detail page, attempts", len(staff.blocked(duplicates)), 2)

    def ask_again(self) -> None:
        expect = self.findings.expect
        expect("who holds the lock after the run", self.lock_in_the_end(), None)
        levels = [level for level, _ in self.asking.once().messages]
        expect("the same request again is answered with", levels, ["success"])
        expect("states of both requests", self.asking.states_in_the_end(), ["sent", "sent"])
        expect("mails in the outbox", len(self.mails()), 2)

    def let_beat_ask(self) -> None:
        expect = self.findings.expect
        beat = self.site.start_beat()
        beat.wait_for_line("Refused", START_SECONDS)
        expect("tracebacks in beat's log after a duplicate", beat.output().count("Traceback"), 0)
        staff = Staff(self.site, self.asking.addresses[0])
        duplicates = staff.duplicates("sales summary")
        expect("the admin's list has beat's task", duplicates.cells("what")[:1], ["sales summary"])
        sources = set(staff.blocked(duplicates))
        expect("the detail page, where it came from", sources, {"schedule"})

    @property
    def email(self) -> str:
        return self.asking.email

    def runs(self) -> int:
        received = re.compile(r"send_pdf_report\[[^\]]+\] received")
        return sum(len(received.findall(worker.output())) for worker in self.workers)

    def mails(self) -> list[Mail]:
        return [mail for mail in mails_in(self.site.outbox) if mail.to == self.email]

    def lock_in_the_end(self) -> object:
        key = send_pdf_report.once_key(self.email, self.asking.month)
        store = open_store(conf.cache)
        return wait_until(lambda: store.inspect(key), lambda lock: lock is None, MOMENT)
