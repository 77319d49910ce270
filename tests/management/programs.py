"""Commands as a person runs them: ``python manage.py …``, and what came of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

from django.core.management import call_command

MANAGE = Path(__file__).resolve().parents[2] / "manage.py"
SECONDS = 60


def manage(*arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run ``manage.py`` in a process of its own, with some settings replaced."""
    return subprocess.run(
        [sys.executable, str(MANAGE), *arguments],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.management.replaced_settings",
            "TEST_SETTINGS": json.dumps(settings),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        cwd=MANAGE.parent,
    )


def output(*arguments: str) -> str:
    """Run a command in this process; return what it wrote."""
    out = StringIO()
    call_command(*arguments, stdout=out, no_color=True)
    return out.getvalue()


def document(*arguments: str) -> Any:
    """Run a command in this process; return its JSON document."""
    return json.loads(output(*arguments, "--format=json"))
