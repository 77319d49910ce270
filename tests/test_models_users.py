"""Users of every kind, in whichever database: their rows stay, and they can be deleted."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import Model
from django.test import Client, RequestFactory, override_settings

from django_celery_once.models import BlockedAttempt, BlockedDuplicate
from django_celery_once.requester import Requester
from tests.duplicates import refuse, tables
from tests.factories import make_lock

ROOT = Path(__file__).parent.parent


class LogRouter:
    """Keep this app's tables in a database of their own."""

    def db_for_read(self, model: type[Model], **hints: object) -> str | None:
        """Return the log's database for the log's models."""
        return "locks" if model._meta.app_label == "django_celery_once" else None

    db_for_write = db_for_read


@pytest.fixture
def _log_elsewhere(transactional_db: None) -> Iterator[None]:
    """Have the journal's tables in the second database alone."""
    with (
        tables("locks", there=True),
        tables("default", there=False),
        override_settings(
            DATABASE_ROUTERS=[f"{__name__}.LogRouter"],
            DJANGO_CELERY_ONCE={"CACHE": "locks", "LOG_DATABASE": "locks"},
        ),
    ):
        yield


def refused_to(user: User) -> None:
    """Refuse a call of a user whose own task holds the lock."""
    request = RequestFactory().get("/reports/")
    request.user = user
    holder = make_lock(requester=str(user.pk))
    refuse(holder=holder, requester=Requester("web", request=request))


@pytest.mark.database
@pytest.mark.django_db(transaction=True, databases=["default", "locks"])
@pytest.mark.usefixtures("_log_elsewhere")
@pytest.mark.parametrize("in_the_admin", [False, True])
def test_deleting_a_user_whose_log_is_elsewhere(in_the_admin: bool) -> None:
    """No database asks another's tables; name and number of the user stay in the log."""
    eva = User.objects.create_user("eva")
    refused_to(eva)
    key = eva.pk
    if in_the_admin:
        client = Client()
        client.force_login(User.objects.create_superuser("boss"))
        page = f"/admin/auth/user/{key}/delete/"
        assert client.get(page).status_code == 200
        assert client.post(page, {"post": "yes"}).status_code == 302
    else:
        eva.delete()
    assert not User.objects.filter(username="eva").exists()
    incident = BlockedDuplicate.objects.get()
    attempt = BlockedAttempt.objects.get()
    assert (incident.holder_user_id, attempt.user_id, attempt.requester) == (key, key, "eva")


@pytest.mark.database
@pytest.mark.django_db
def test_deleting_many_users() -> None:
    """Querysets of users are deleted as well, and every row forgets its own."""
    for name in ("eva", "adam"):
        refused_to(User.objects.create_user(name))
    User.objects.filter(username="eva").delete()
    assert sorted(BlockedAttempt.objects.values_list("requester", "user__username")) == [
        ("adam", "adam"),
        ("eva", None),
    ]
    User.objects.all().delete()
    assert set(BlockedAttempt.objects.values_list("user", flat=True)) == {None}
    assert BlockedDuplicate.objects.get().holder_user is None


# ---- projects with other users and other keys

SETTINGS = """
SECRET_KEY = "tests-only"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "people",
    "django_celery_once",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "project.sqlite3"}}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
SILENCED_SYSTEM_CHECKS = ["django_celery_once.E003", "django_celery_once.W008"]
USE_TZ = True
"""
PEOPLE = """
import uuid
from django.contrib.auth.models import AbstractUser
from django.db import models


class Person(AbstractUser):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
"""
FIELDS = """
from django.db import models


class SpacedAutoField(models.BigAutoField):
    pass
"""
STORY = """
import django
django.setup()
from contextlib import suppress
from celery import Celery, shared_task
from django.test import RequestFactory
from django_celery_once import AlreadyQueued, QueueOnce
from django_celery_once.models import BlockedAttempt, BlockedDuplicate
from django_celery_once.requester import Requester, asking
from people.models import Person

Celery("project", broker="memory://").set_current()

@shared_task(base=QueueOnce, name="project.send")
def send(): ...

person = Person.objects.create_user("eva")
request = RequestFactory().get("/")
request.user = person
with asking(Requester("web", request=request)):
    for each in range(2):
        with suppress(AlreadyQueued):
            send.delay()
attempt = BlockedAttempt.objects.get()
assert attempt.user == person, attempt.user_id
assert BlockedDuplicate.objects.get().holder_user == person
person.delete()
attempt.refresh_from_db()
assert (attempt.user, attempt.requester) == (None, "eva")
print("kept")
"""


def run(folder: Path, *command: str) -> str:
    """Run Python in a project; return what it wrote."""
    environment: dict[str, Any] = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "settings",
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
    }
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def make_project(folder: Path, user: str, *lines: str) -> None:
    """Write a project with users of this kind."""
    (folder / "people").mkdir()
    (folder / "people/__init__.py").touch()
    (folder / "people/fields.py").write_text(FIELDS)
    (folder / "people/models.py").write_text(PEOPLE if user == "people.Person" else "")
    settings = [SETTINGS, f'AUTH_USER_MODEL = "{user}"', *lines]
    (folder / "settings.py").write_text("\n".join(settings))


def test_users_with_uuids(tmp_path: Path) -> None:
    """A project's own user model may have any primary key."""
    make_project(tmp_path, "people.Person")
    run(tmp_path, "-m", "django", "makemigrations", "people", "--verbosity", "0")
    run(tmp_path, "-m", "django", "migrate", "--verbosity", "0")
    assert run(tmp_path, "-c", STORY) == "kept\n"


@pytest.mark.parametrize(
    "field",
    [
        "django.db.models.AutoField",
        "django.db.models.BigAutoField",
        "django.db.models.SmallAutoField",
        "people.fields.SpacedAutoField",
    ],
)
@pytest.mark.parametrize("user", ["auth.User", "people.Person"])
def test_one_schema_for_all(field: str, user: str, tmp_path: Path) -> None:
    """No project's settings make a migration of this app its own."""
    make_project(tmp_path, user, f'DEFAULT_AUTO_FIELD = "{field}"')
    check = ["makemigrations", "--check", "--dry-run", "django_celery_once"]
    assert "No changes detected" in run(tmp_path, "-m", "django", *check)
