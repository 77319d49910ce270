"""The admin pages on a site of the project's own, and with a theme's ``ModelAdmin``."""

from __future__ import annotations

import os
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest
from django.contrib import admin
from django.urls import path, reverse

from django_celery_once.admin import BlockedDuplicateAdmin, HeldLockAdmin
from django_celery_once.locks import open_store
from django_celery_once.models import BlockedDuplicate, HeldLock
from tests.admin import people
from tests.admin.test_locks import KEY, hold, mark
from tests.factories import make_rejection

pytestmark = pytest.mark.django_db

APP = "backstage:django_celery_once"


@pytest.fixture(autouse=True)
def _backstage(settings: Any) -> None:
    """Serve a second admin site, and not the first."""
    site = admin.AdminSite(name="backstage")
    site.register(BlockedDuplicate, BlockedDuplicateAdmin)
    site.register(HeldLock, HeldLockAdmin)
    urls = ModuleType("urls")
    urls.urlpatterns = [  # type: ignore[attr-defined]
        path("elsewhere/", admin.site.urls),
        path("backstage/", site.urls),
    ]
    settings.ROOT_URLCONF = urls


def test_pages_of_another_site_stay_there() -> None:
    """No page has a link to the site of the same models that is not its own."""
    hold(open_store("locks"))
    BlockedDuplicate.objects.record(make_rejection())
    client = people.superuser()
    addresses = [
        reverse(f"{APP}_heldlock_changelist"),
        reverse(f"{APP}_heldlock_history", args=["once"]),
        reverse(f"{APP}_blockedduplicate_changelist"),
        reverse(f"{APP}_blockedduplicate_overview"),
    ]
    for address in addresses:
        assert address.startswith("/backstage/")
        response = client.get(address)
        assert response.status_code == 200
        page = response.content.decode()
        assert "/backstage/django_celery_once/" in page
        assert "/elsewhere/" not in page


def test_a_lock_is_released_on_another_site() -> None:
    """The way from the list over the question back to the list is one site's."""
    held = hold(open_store("locks"))
    client = people.releaser()
    listed = client.get(reverse(f"{APP}_heldlock_changelist")).content.decode()
    address = reverse(f"{APP}_heldlock_release", args=["once_3Atests.report_3Ak"])
    assert f'formaction="{address}"' in listed
    asked = client.post(address, {"mark": mark(held)}).content.decode()
    assert "/elsewhere/" not in asked
    form = {"mark": mark(held), "confirmed": "yes", "reason": "stuck"}
    response = client.post(address, form)
    assert response["Location"] == reverse(f"{APP}_heldlock_changelist")
    assert open_store("locks").inspect(KEY) is None


THEMED = """
import django
from django.conf import settings
from tests import settings as given

names = {name: getattr(given, name) for name in dir(given) if name.isupper()}
apps = ["unfold", *given.INSTALLED_APPS]
databases = {
    alias: {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"} for alias in given.DATABASES
}
changes = {"INSTALLED_APPS": apps, "DATABASES": databases, "ROOT_URLCONF": __name__}
settings.configure(**{**names, **changes})
django.setup()

from django.contrib import admin
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.urls import path, reverse
from unfold.admin import ModelAdmin

from django_celery_once.admin import BlockedDuplicateAdmin, HeldLockAdmin
from django_celery_once.locks import open_store
from django_celery_once.models import BlockedDuplicate, HeldLock

for model, ours in ((BlockedDuplicate, BlockedDuplicateAdmin), (HeldLock, HeldLockAdmin)):
    admin.site.unregister(model)
    admin.site.register(model, type("Themed", (ours, ModelAdmin), {}))

urlpatterns = [path("admin/", admin.site.urls)]

call_command("migrate", verbosity=0)
from tests.admin.test_locks import hold, mark
from tests.factories import make_rejection

held = hold(open_store("locks"))
BlockedDuplicate.objects.record(make_rejection())
incident = BlockedDuplicate.objects.get()
client = Client()
client.force_login(User.objects.create_superuser("root"))
app = "admin:django_celery_once"
release = reverse(f"{app}_heldlock_release", args=["once_3Atests.report_3Ak"])
for address in (
    reverse("admin:index"),
    reverse(f"{app}_heldlock_changelist"),
    reverse(f"{app}_heldlock_history", args=["once"]),
    reverse(f"{app}_blockedduplicate_changelist"),
    reverse(f"{app}_blockedduplicate_overview"),
    reverse(f"{app}_blockedduplicate_change", args=[incident.pk]),
):
    response = client.get(address)
    page = response.content.decode()
    assert response.status_code == 200, (address, response.status_code)
    assert "unfold/css/styles.css" in page, address
assert held.owner in client.get(reverse(f"{app}_heldlock_changelist")).content.decode()
asked = client.post(release, {"mark": mark(held)})
assert b'name="reason"' in asked.content
form = {"mark": mark(held), "confirmed": "yes", "reason": "stuck"}
done = client.post(release, form, follow=True)
assert "The lock of May report is free." in done.content.decode()
print("all pages answer")
"""


def test_with_the_theme_unfold() -> None:
    """Mixed with django-unfold's ``ModelAdmin``, every page answers, and a lock is released."""
    pytest.importorskip("unfold", reason="django-unfold is not installed")
    done = subprocess.run(
        [sys.executable, "-c", THEMED],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.strip() == "all pages answer", done.stderr[-3000:]
