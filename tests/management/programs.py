"""Commands as a person runs them: ``python manage.py …``, and what came of it."""

from __future__ import annotations

import json
import os
import subprocess
from io import StringIO
from pathlib import Path
from typing import Any

from django.core.management import call_command

from tests import forks

MANAGE = Path(__file__).resolve().parents[2] / "manage.py"
SECONDS = 60


def manage(*arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run ``manage.py`` in a process of its own, with some settings replaced."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.management.replaced_settings",
        "TEST_SETTINGS": json.dumps(settings),
    }
    return forks.run(
        str(MANAGE), *arguments, environment=environment, folder=MANAGE.parent, seconds=SECONDS
    )


def output(*arguments: str) -> str:
    """Run a command in this process; return what it wrote."""
    out = StringIO()
    call_command(*arguments, stdout=out, no_color=True)
    return out.getvalue()


def document(*arguments: str) -> Any:
    """Run a command in this process; return its JSON document."""
    return json.loads(output(*arguments, "--format=json"))
