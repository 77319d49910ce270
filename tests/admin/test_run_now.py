"""*Run selected tasks* in the admin of django-celery-beat, in a project that has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.admin.test_projects import SETTINGS, URLS
from tests.test_models_users import make_project, run

pytest.importorskip("django_celery_beat", reason="django-celery-beat is not installed")

BEAT = """
INSTALLED_APPS += ["django_celery_beat"]
MIDDLEWARE += ["django_celery_once.middleware.AlreadyQueuedMiddleware"]
"""
BEGIN = """
import django
django.setup()
from celery import Celery, shared_task
from django.contrib.auth.models import User
from django.test import Client
from django.test.utils import setup_test_environment
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from django_celery_once import QueueOnce

setup_test_environment()
Celery("project", broker="memory://").set_current()

@shared_task(base=QueueOnce, name="project.send")
def send(address): ...

hourly = IntervalSchedule.objects.create(every=1, period="hours")
plans = [
    PeriodicTask.objects.create(name=name, task="project.send", interval=hourly, args=args)
    for name, args in (("a", '["ada"]'), ("b", '["bob"]'), ("c", '["eva"]'))
]
client = Client()
client.force_login(User.objects.create_superuser("root"))

def run_now(*selected):
    form = {"action": "run_tasks", "index": "0", "_selected_action": [plan.pk for plan in selected]}
    address = "/admin/django_celery_beat/periodictask/?enabled__exact=1"
    response = client.post(address, form, follow=True)
    assert response.redirect_chain == [(address, 302)], response.redirect_chain
    return [f"{each.level_tag}: {each}" for each in response.context["messages"]]
"""
STORY = """
for selected in (plans[1:2], plans[1:2], plans, plans[:1]):
    print(*run_now(*selected))
"""
#: The list has the latest plan first, and an action goes through it in that order.
TOLD = """\
info: 1 task was successfully run
warning: Your project.send is already being prepared. The action stopped there: whatever was to \
come after it was left out.
warning: Your project.send is already being prepared. The action stopped there: whatever was to \
come after it was left out.
info: 1 task was successfully run
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return the folder of such a project, its database made."""
    without_results = SETTINGS.replace('    "django_celery_results",\n', "")
    make_project(tmp_path, "auth.User", without_results, BEAT)
    (tmp_path / "urls.py").write_text(URLS)
    run(tmp_path, "-m", "django", "migrate", "--verbosity", "0")
    return tmp_path


def test_a_duplicate_is_a_message(project: Path) -> None:
    """See the list again with a message, whether one or several tasks were selected."""
    assert run(project, "-c", BEGIN + STORY) == TOLD
