"""A new Django project with lines of the documentation copied into it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tests import forks

ROOT = Path(__file__).parent.parent

CELERY = """
import os
from celery import Celery
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
app = Celery("shop", broker="memory://")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""
OWN_SETTINGS = 'INSTALLED_APPS += ["reports"]\nALLOWED_HOSTS = ["*"]\n'


def python_blocks(page: str) -> dict[str, list[str]]:
    """Return the Python of a page, by section."""
    return {
        section.partition("\n")[0]: re.findall(r"```python\n(.*?)```", section, re.DOTALL)
        for section in re.split(r"^## ", page, flags=re.MULTILINE)
    }


def check_links(page: Path) -> None:
    """Check that each file and heading that a page links to is there."""
    for file, anchor in re.findall(r"\]\(([^)#:]*)#?([^):]*)\)", page.read_text()):
        target = page.parent / file if file else page
        assert target.is_file(), file
        headings = re.findall(r"^##+ (.+)$", target.read_text(), re.MULTILINE) if anchor else []
        anchors = [re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings]
        assert not anchor or anchor in anchors, f"{target.name} has no heading #{anchor}"


def start(folder: Path, settings: str, files: dict[str, str]) -> None:
    """Start a project with an app ``reports``, and locks in the Redis of the tests."""
    run(
        folder,
        "-m",
        "django",
        "startproject",
        "shop",
        ".",
        "--settings=django.conf.global_settings",
    )
    settings = settings.replace("redis://127.0.0.1:6379", os.environ["TEST_REDIS_URL"])
    write(
        folder,
        {
            "shop/settings.py": settings + OWN_SETTINGS,
            "shop/celery.py": CELERY,
            "shop/__init__.py": "from shop.celery import app\n",
            "reports/__init__.py": "",
            **files,
        },
    )


def write(folder: Path, files: dict[str, str]) -> None:
    """Write the files, or append to those there are."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.read_text() + text if path.exists() else text)


def run(folder: Path, *command: str, script: str = "", stderr: bool = False) -> str:
    """Run Python in the project; return what it writes, or what it complains of."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "shop.settings",
        "PYTHONPATH": str(ROOT),  # where it is not installed
    }
    done = forks.run(*command, environment=environment, folder=folder, text=script)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr if stderr else done.stdout
