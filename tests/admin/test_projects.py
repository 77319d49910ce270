"""The pages in a project whose users have UUIDs, and that stores results in its database."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_models_users import make_project, run

pytest.importorskip("django_celery_results", reason="django-celery-results is not installed")

SETTINGS = """
INSTALLED_APPS += [
    "django.contrib.admin",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django_celery_results",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ALLOWED_HOSTS = ["testserver"]
ROOT_URLCONF = "urls"
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
"""
URLS = """
from django.contrib import admin
from django.urls import path

urlpatterns = [path("admin/", admin.site.urls)]
"""
BEGIN = """
import django
django.setup()
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django_celery_results.models import TaskResult
from people.models import Person
from tests.admin.incidents import change_url, detail, end, refused, save

eva, ada = (Person.objects.create_user(name, is_staff=True) for name in ("eva", "ada"))
eva.user_permissions.set(Permission.objects.filter(codename="view_blockedduplicate"))
root = Person.objects.create_superuser("root")
incident = save(refused(1, "eva", user=eva.pk, holder={"requester": str(ada.pk)}))

def browser(person):
    client = Client()
    client.force_login(person)
    return client
"""
PEOPLE = """
page = detail(browser(root), incident)
assert "eva asked for “reports.send” again" in page, page
assert "That request was made by ada." in page, page
assert "two people, or more, wanted the same" in page, page
found = browser(eva).get("/admin/django_celery_once/blockedduplicate/?q=eva").content.decode()
assert "holder-1" in found
ada.delete()
assert "made by" not in detail(browser(root), incident)
print("told")
"""
RESULTS = """
assert "is gone without a word" in detail(browser(root), incident)
result = TaskResult.objects.create(task_id="holder-1", status="SUCCESS")
link = f'href="/admin/django_celery_results/taskresult/{result.pk}/change/"'
for person, may_follow in ((root, True), (eva, False)):
    client = browser(person)
    page = client.get(change_url(incident)).content.decode()
    assert "Nothing to do: the request of" in page
    assert "succeeded, according to its stored result." in page
    assert (link in page) is may_follow
assert browser(root).get(link[6:-1]).status_code == 200
TaskResult.objects.update(status="FAILURE")
assert "Find out why it failed, then ask again." in detail(browser(root), incident)
end(incident, "success")
assert "succeeded at" in detail(browser(root), incident)
TaskResult.objects.update(task_id="another")
assert "See its stored result" not in detail(browser(root), incident)
with connection.schema_editor() as editor:
    editor.delete_model(TaskResult)
assert "succeeded at" in detail(browser(root), incident)
print("told")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return the folder of such a project, its database made."""
    make_project(tmp_path, "people.Person", SETTINGS)
    (tmp_path / "urls.py").write_text(URLS)
    run(tmp_path, "-m", "django", "makemigrations", "people", "--verbosity", "0")
    run(tmp_path, "-m", "django", "migrate", "--verbosity", "0")
    return tmp_path


def test_users_with_uuids(project: Path) -> None:
    """Whatever their keys are, people are named, found and forgotten."""
    assert run(project, "-c", BEGIN + PEOPLE).endswith("told\n")


def test_stored_results(project: Path) -> None:
    """A result tells how a request ended, and whoever may see it is led to it."""
    assert run(project, "-c", BEGIN + RESULTS).endswith("told\n")
