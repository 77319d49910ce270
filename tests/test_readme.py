"""What stands in the README works when it is copied."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from django.utils import translation

from django_celery_once import AlreadyQueued, checks, conf
from django_celery_once.models import BlockedDuplicate, HeldLock
from django_celery_once.options import OPTIONS
from django_celery_once.wording import STANDARD, Asker
from tests.shop import ROOT, python_blocks, run, start, write

README = (ROOT / "README.md").read_text()
BLOCKS = python_blocks(README)
SETTINGS, TASKS, VIEWS = BLOCKS["Install"]
(CALL,) = BLOCKS["A duplicate"]
CREATE_VIEW, FUNCTION_VIEW, REST, NINJA = BLOCKS["In a view"]
STATUS_URLS, STATUS_POLICY = BLOCKS["On the page"]
(STATUS_PAGE,) = re.findall(r"```html\n(.*?)```", README, re.DOTALL)
(RESERVING_VIEW,) = BLOCKS["In a transaction"]
(SPREADING,) = BLOCKS["Settings"]
(ADMIN,) = BLOCKS["For staff"]
(PRUNING,) = BLOCKS["Pruning"]
(LABEL,) = BLOCKS["Personal data"]
(RABBITMQ,) = BLOCKS["When a lock is freed"]
TESTS, CONFTEST = BLOCKS["In your tests"]
(PLUGIN,) = re.findall(r"`(pytest_plugins = .*?)`", README)
(CATALOGUE,) = re.findall(r"```po\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"^python (manage\.py once_.*)$", README, re.MULTILINE)

FORMS = """
from django import forms
class ReportForm(forms.Form):
    email = forms.EmailField()
    month = forms.CharField()
"""
MODELS = """
from django.db import models
class Order(models.Model):
    email = models.EmailField()
"""
INVOICE = """
@shared_task(base=QueueOnce, once={"keys": ["email"]})
def send_invoice(email, order_pk): ...
"""
URLS = """
from django.contrib import admin
from django.urls import path
from reports.views import OrderView, ReportView, place_order, remind
urlpatterns = [
    path("admin/", admin.site.urls),
    path("", ReportView.as_view(), name="report"),
    path("order/", OrderView.as_view()),
    path("place-order/", place_order),
    path("remind/", remind),
]
"""
BACKSTAGE_URLS = """
from reports.admin import backstage
urlpatterns += [path("backstage/", backstage.urls)]
"""
BACKSTAGE = """
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
client = Client()
client.force_login(User.objects.create_superuser("root"))
for page in ("blockedduplicate_changelist", "blockedduplicate_overview", "heldlock_changelist"):
    address = reverse(f"backstage:django_celery_once_{page}")
    print(address, client.get(address).status_code)
"""
TEMPLATE = "{% for message in messages %}[{{ message.tags }}] {{ message }}{% endfor %}"
STORY = """
from django.contrib.auth.models import User
from django.test import Client
from django_celery_once.models import BlockedDuplicate
client = Client()
client.cookies["csrftoken"] = "c" * 32  # as a form sets it
for each in range(2):
    page = client.post("/", {"email": "ada@example.com", "month": "May"}, follow=True)
    print(page.status_code, page.content.decode())
print(BlockedDuplicate.objects.get().rejections)
"""
ORDERS = """
from django.contrib.messages import get_messages
from django.test import Client
from reports.models import Order
client = Client()
client.cookies["csrftoken"] = "c" * 32  # as a form sets it
for each in range(2):
    page = client.post("/order/", {"email": "ada@example.com"})
    print(page["Location"], *get_messages(page.wsgi_request))
print(Order.objects.count())
"""
PLACED = """
from django.test import Client
from reports.models import Order
from reports.tasks import send_invoice
client = Client()
for each in range(2):
    page = client.post("/place-order/", {"email": "ada@example.com"})
    print(page.status_code, Order.objects.count())
try:
    send_invoice.delay("ada@example.com", 1)
except Exception as duplicate:
    print(type(duplicate).__name__, duplicate.phase)
"""
REMINDERS = """
from django.test import Client
client = Client()
client.cookies["csrftoken"] = "c" * 32  # as a form sets it
for accept in ("text/html", "text/html", "application/json"):
    page = client.post("/remind/", headers={"accept": accept}, follow=True)
    print(page.status_code, page.content.decode())
"""
API = """
from django_celery_once import AlreadyQueued
from rest_framework.settings import api_settings
print(api_settings.EXCEPTION_HANDLER(AlreadyQueued(5), {}).status_code)
"""

STATUS = """
import re
from django.contrib.auth.models import User
from django.test import Client, RequestFactory
from django.template import engines
from reports.forms import ReportForm
from reports.tasks import send_pdf_report
request = RequestFactory().get("/")
request.user = User.objects.create_user("ada")
context = {"form": ReportForm(), "call": send_pdf_report.delay("ada@example.com", "May")}
page = engines["django"].get_template("page.html").render(context, request)
print(re.findall(r'src="([^"]+)"', page), "May report:" in page, "Waiting for its turn." in page)
address = re.search(r'data-once-url="([^"]+)"', page)[1]
colleague = Client()
colleague.force_login(User.objects.create_user("grace"))
print([each.get(address).status_code for each in (Client(), colleague)])
"""
QUEUE = """
from reports.tasks import send_monthly_report, send_pdf_report
for task in (send_pdf_report, send_monthly_report):
    task.delay("ada@example.com", "May")
print(send_pdf_report.once_key("ada@example.com", "May"))
"""
PYTEST = """
import pytest
from django.conf import settings
from django_celery_once import AlreadyQueued
from reports.tasks import send_pdf_report
from reports.tests import ReportTests as TestReport

def queue_twice():
    for each in range(2):
        send_pdf_report.delay("ada@example.com", "May")

def test_disabled(once_disabled):
    queue_twice()

@pytest.mark.django_db
@pytest.mark.parametrize("number", range(2))
def test_in_memory(once_in_memory, number):
    with pytest.raises(AlreadyQueued):
        queue_twice()

def test_neither():
    assert settings.DJANGO_CELERY_ONCE["CACHE"] == "locks"
"""
SCHEDULE = """
from shop.celery import app
app.loader.import_default_modules()
print({each["task"] in app.tasks for each in app.conf.beat_schedule.values()})
"""


SPREAD = """
from django_celery_once.registry import users
from reports.tasks import send_pdf_report
print(users())
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Return a new Django project with the README's lines copied into it."""
    start(
        tmp_path,
        SETTINGS + PRUNING + RABBITMQ + REST,
        {
            "reports/forms.py": FORMS,
            "reports/models.py": MODELS,
            "reports/tasks.py": TASKS + LABEL + INVOICE,
            "reports/views.py": VIEWS + CREATE_VIEW + FUNCTION_VIEW + RESERVING_VIEW,
            "reports/templates/report.html": TEMPLATE,
        },
    )
    (tmp_path / "shop/urls.py").write_text(URLS)
    return tmp_path


def test_the_installation_works_as_written(shop: Path) -> None:
    """Follow the README in a new project, then click twice."""
    assert "no issues" in run(shop, "manage.py", "check", "--fail-level", "WARNING")
    run(shop, "manage.py", "migrate", "--verbosity", "0")
    told = run(shop, "manage.py", "shell", "--no-imports", script=STORY)
    assert told.splitlines() == [
        "200 ",
        "200 [info] Your monthly report is already being prepared. "
        "You don&#x27;t need to send it again.",
        "1",
    ]


def test_the_handlers_for_ninja_work_as_written(shop: Path) -> None:
    """Let django-ninja answer a duplicate."""
    asked = "print(api.on_exception(RequestFactory().get('/'), AlreadyQueued(5)).status_code)"
    imports = """
from django.test import RequestFactory
from django_celery_once import AlreadyQueued
"""
    told = run(shop, "manage.py", "shell", "--no-imports", script=f"{NINJA}{imports}{asked}\n")
    assert told == "409\n"


def test_several_servers_work_as_written(shop: Path) -> None:
    """Give a task's locks to the README's second server."""
    write(shop, {"shop/settings.py": SPREADING})
    assert "no issues" in run(shop, "manage.py", "check", "--fail-level", "WARNING")
    told = run(shop, "manage.py", "shell", "--no-imports", script=SPREAD)
    assert told == "{'locks': [], 'locks2': ['reports.tasks.*', 'reports.tasks.send_invoice', " + (
        "'reports.tasks.send_monthly_report', 'reports.tasks.send_pdf_report']}\n"
    )


def migrate(shop: Path) -> None:
    """Make the tables, also that of the orders."""
    run(shop, "manage.py", "makemigrations", "reports", "--verbosity", "0")
    run(shop, "manage.py", "migrate", "--verbosity", "0")


def test_a_view_that_saves_works_as_written(shop: Path) -> None:
    """Send the README's order twice: one is saved."""
    migrate(shop)
    told = run(shop, "manage.py", "shell", "--no-imports", script=ORDERS)
    assert told.splitlines() == [
        "/orders/1/",
        "/order/ Your order is already being prepared. You don't need to send it again.",
        "1",
    ]


def test_a_function_view_works_as_written(shop: Path) -> None:
    """Ask the README's function thrice, the last time as a program."""
    migrate(shop)
    first, second, third = run(
        shop, "manage.py", "shell", "--no-imports", script=REMINDERS
    ).splitlines()
    assert first == "200 On its way."
    assert second.startswith("200 [info] Your monthly report is already being prepared.")
    assert third.startswith("409 {")
    assert '"code": "already_queued"' in third


def test_the_setting_for_apis_works_as_written(shop: Path) -> None:
    """Let Django REST framework find its handler."""
    assert run(shop, "manage.py", "shell", "--no-imports", script=API) == "409\n"


def test_a_reservation_works_as_written(shop: Path) -> None:
    """Place the README's order twice: one is saved, and its task queued."""
    migrate(shop)
    told = run(shop, "manage.py", "shell", "--no-imports", script=PLACED)
    assert told.splitlines() == ["200 1", "409 1", "AlreadyQueued queued"]


def test_the_call_works_as_written(shop: Path) -> None:
    """Run the README's lines about ``AlreadyQueued``, twice to have a duplicate."""
    run(shop, "manage.py", "migrate", "--verbosity", "0")
    script = f"from reports.tasks import send_pdf_report\n{CALL}\n{CALL}\nprint(duplicate_seen)"
    seen = script.replace(
        "    duplicate.task_id", "    duplicate_seen = duplicate\n    duplicate.task_id"
    )
    told = run(shop, "manage.py", "shell", "--no-imports", script=seen)
    assert "reports.tasks.send_pdf_report is already queued as task" in told


def test_the_commands_work_as_written(shop: Path) -> None:
    """Run each line, with the key of a lock that is there."""
    run(shop, "manage.py", "migrate", "--verbosity", "0")
    key = run(shop, "manage.py", "shell", "--no-imports", script=QUEUE).strip()
    told = run(shop, "manage.py", "once_locks")
    (sample,) = re.findall(r"^  PHASE .*$", README, re.MULTILINE)
    assert told.splitlines()[1].split() == sample.split()
    assert "May report" in told
    for command in COMMANDS:
        run(shop, *shlex.split(command.replace("KEY", key)))
    assert key not in run(shop, "manage.py", "once_locks")


def test_beat_can_run_what_is_scheduled(shop: Path) -> None:
    """Name a task that workers know."""
    assert run(shop, "manage.py", "shell", "--no-imports", script=SCHEDULE) == "{True}\n"


@pytest.fixture
def tested_shop(shop: Path) -> Path:
    """Return the project with the README's test, and no Redis."""
    no_redis = 'CACHES["locks"]["LOCATION"] = "redis://127.0.0.1:1"\n'
    write(shop, {"shop/settings.py": no_redis, "reports/tests.py": TESTS})
    return shop


@pytest.mark.parametrize("eager", [True, False])
def test_a_double_click_is_tested_as_written(tested_shop: Path, eager: bool) -> None:
    """Run the README's test in both set-ups."""
    write(tested_shop, {"shop/settings.py": f"CELERY_TASK_ALWAYS_EAGER = {eager}\n"})
    run(tested_shop, "manage.py", "makemigrations", "reports", "--verbosity", "0")
    told = run(tested_shop, "manage.py", "test", "--verbosity", "2", stderr=True)
    assert "test_a_double_click_queues_one_report" in told
    assert "Ran 1 test" in told


def test_pytest_has_the_fixtures(tested_shop: Path) -> None:
    """Load the README's plugin, alone and with its fixture for all tests."""
    write(tested_shop, {"conftest.py": PLUGIN, "test_reports.py": PYTEST})
    told = run(tested_shop, "-m", "pytest", "-p", "no:cacheprovider", "-q", "test_reports.py")
    assert "5 passed" in told
    forgetful = "def test_it(db): report.delay('a@example.com', 'May')\n"
    forgetful = "from reports.tasks import send_pdf_report as report\n" + forgetful
    write(tested_shop, {"conftest.py": CONFTEST, "test_forgetful.py": forgetful})
    words = ("-m", "pytest", "-p", "no:cacheprovider", "-q")
    assert "1 passed" in run(tested_shop, *words, "test_forgetful.py")


def test_another_admin_site_works_as_written(shop: Path) -> None:
    """Register the pages again, and look at them there."""
    write(shop, {"reports/admin.py": ADMIN, "shop/urls.py": BACKSTAGE_URLS})
    run(shop, "manage.py", "migrate", "--verbosity", "0")
    told = run(shop, "manage.py", "shell", "--no-imports", script=BACKSTAGE)
    assert told.splitlines() == [
        "/backstage/django_celery_once/blockedduplicate/ 200",
        "/backstage/django_celery_once/blockedduplicate/overview/ 200",
        "/backstage/django_celery_once/heldlock/ 200",
    ]


def test_the_page_says_how_a_call_stands(shop: Path) -> None:
    """With both scripts, an address, and a policy that lets the team look."""
    policy = "DJANGO_CELERY_ONCE['STATUS_POLICY'] = 'reports.status.OpenToTheTeam'\n"
    write(
        shop,
        {
            "shop/urls.py": STATUS_URLS.replace("urlpatterns = [", "urlpatterns += ["),
            "shop/settings.py": policy,
            "reports/status.py": STATUS_POLICY,
            "reports/templates/page.html": STATUS_PAGE,
        },
    )
    run(shop, "manage.py", "migrate", "--verbosity", "0")
    told = run(shop, "manage.py", "shell", "--no-imports", script=STATUS)
    scripts = [f"/static/django_celery_once/{name}.js" for name in ("submit-guard", "status")]
    assert told.splitlines() == [f"{scripts} True True", "[403, 200]"]


def test_a_catalogue_of_your_own_wins(tmp_path: Path, settings: Any) -> None:
    """Compile the README's catalogue, and be told its sentence."""
    path = tmp_path / "locale/de/LC_MESSAGES/django.mo"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        write_mo(file, read_po(CATALOGUE.splitlines(), locale="de"))
    settings.LOCALE_PATHS = [tmp_path / "locale"]
    with translation.override("de"):
        told = STANDARD.already_queued(AlreadyQueued(30), Asker.SELF, label="Bericht")
    assert told == "Wir sind schon dabei: Bericht."


def test_every_permission_is_in_the_readme() -> None:
    """Name what opens which page."""
    staff = README.partition("## For staff")[2].partition("\n## ")[0]
    shown = set(re.findall(r"^\| `(\w+_\w+)` \| ", staff, re.MULTILINE))
    models = (BlockedDuplicate, HeldLock)
    own = {name for model in models for name, _words in model._meta.permissions}
    usual = {
        f"{verb}_{model._meta.model_name}"
        for model in models
        for verb in model._meta.default_permissions
    }
    assert shown == own | usual


def test_every_setting_and_option_is_in_the_readme() -> None:
    """List what there is, with its default."""
    for key, (default, _check) in conf.KEYS.items():
        shown = f'"{default}"' if isinstance(default, str) else str(default)
        assert f"| `{key}` | `{shown}` |" in README
    for option in OPTIONS:
        assert f"| `{option}` |" in README


def test_every_check_has_its_anchor() -> None:
    """Explain each id that a check may give."""
    modules = Path(checks.__file__).parent.glob("*.py")
    ids = {each for path in modules for each in re.findall(r'"([EW]\d{3})"', path.read_text())}
    assert ids == set(re.findall(r"^### ([EW]\d{3})$", README, re.MULTILINE))


def test_the_pictures_are_there() -> None:
    """Link to no picture that is missing."""
    for picture in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README):
        assert (ROOT / picture).stat().st_size > 1000
