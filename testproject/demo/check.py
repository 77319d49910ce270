"""The demo without a person: play the story on free ports, with fresh data."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import django

from testproject.demo.findings import Findings
from testproject.demo.site import Site

#: Slow enough for three submits to meet, on a busy machine too; beat asks four times
#: while one summary is being made.
SECONDS = {"REPORT_SECONDS": "4", "SUMMARY_EVERY": "1", "SUMMARY_SECONDS": "4"}


def check() -> int:
    """Return 0 if everything is as promised, 1 otherwise."""
    findings = Findings()
    with (
        tempfile.TemporaryDirectory(prefix="once-check-") as data,
        Site(Path(data), **SECONDS) as site,
    ):
        os.environ.update(site.environment)
        django.setup()
        play(site, findings)
        if findings.failed:
            print(site.programs.outputs())
    print(findings.closing_line())
    return 1 if findings.failed else 0


def play(site: Site, findings: Findings) -> None:
    # Its models can be imported once Django is set up.
    from testproject.demo.asking import Asking
    from testproject.demo.story import Story

    workers = [site.start_worker(number) for number in (1, 2)]
    addresses = [site.start_web_somewhere(number) for number in (1, 2)]
    findings.expect("web servers that answer", len(addresses), 2)
    findings.expect("workers that are ready", len(workers), 2)
    try:
        Story(site, workers, Asking(addresses), findings).play()
    except Exception as error:  # It goes on the list, and the logs are shown.
        findings.expect("the story breaks off", repr(error), None)
