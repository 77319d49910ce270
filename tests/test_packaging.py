"""The package as others get it: metadata, files, import."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "django_celery_once"
SOURCES = ["setup.cfg", "pyproject.toml", "MANIFEST.in", "LICENSE", "CHANGELOG.md", "README.md"]
CATALOGUES = [
    f"django_celery_once/locale/{language}/LC_MESSAGES/django.mo" for language in ("de", "es", "fr")
]
GERMAN = """
import django
from django.conf import settings
settings.configure(LANGUAGE_CODE="de", INSTALLED_APPS=["django_celery_once"])
django.setup()
import django_celery_once
from django_celery_once.wording import STANDARD
print(django_celery_once.__file__)
print(STANDARD.lock_unavailable().partition(". ")[2].partition(";")[0])
"""


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build wheel and sdist from a copy, so that no build folder litters the checkout."""
    room = tmp_path_factory.mktemp("wheel")
    copy = room / "source"
    shutil.copytree(PACKAGE, copy / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ["benchmarks", "docs"]:
        shutil.copytree(ROOT / name, copy / name)
    for name in ["tests", "testproject"]:
        (copy / name).mkdir()
        shutil.copy(ROOT / name / "__init__.py", copy / name)
    for source in SOURCES:
        shutil.copy(ROOT / source, copy)
    command = [sys.executable, "-m", "build", "--wheel", "--sdist", "--no-isolation", "--outdir"]
    built = subprocess.run(
        [*command, str(room), str(copy)], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return room


@pytest.fixture(scope="module")
def wheel(dist: Path) -> zipfile.ZipFile:
    (path,) = dist.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return Parser().parsestr(wheel.read(name).decode())


def test_wheel_holds_every_file_of_the_package_and_no_other(wheel: zipfile.ZipFile) -> None:
    expected = {
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}

    assert shipped == expected


def test_wheel_is_typed_and_migrates(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())

    assert {
        "django_celery_once/py.typed",
        "django_celery_once/migrations/__init__.py",
        "django_celery_once/migrations/0001_initial.py",
    } <= names


@pytest.fixture(scope="module")
def sources(dist: Path) -> set[str]:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as sdist:
        return {name.partition("/")[2] for name in sdist.getnames()}


def test_wheel_and_sdist_hold_the_catalogues(sources: set[str], wheel: zipfile.ZipFile) -> None:
    assert set(CATALOGUES) <= set(wheel.namelist())
    assert {*CATALOGUES, *(name[:-2] + "po" for name in CATALOGUES)} <= sources


def test_sdist_holds_what_the_readme_links_to(sources: set[str]) -> None:
    linked = re.findall(r"\]\(([^):]+)\)", (ROOT / "README.md").read_text())

    assert set(linked) <= sources


def test_wheel_speaks_german(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    shutil.unpack_archive(str(wheel.filename), tmp_path, "zip")

    done = run(GERMAN, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    file, sentence = done.stdout.splitlines()
    assert Path(file).parent == tmp_path / PACKAGE.name
    assert sentence == "Es wurde nichts abgeschickt"


def test_wheel_carries_the_licence(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith("/LICENSE")]

    assert wheel.read(name).decode().startswith("BSD 3-Clause License")


def test_metadata_names_the_project(metadata: Message) -> None:
    assert metadata["Name"] == "django-celery-once"
    assert metadata["License"] == "BSD-3-Clause"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload()


def test_metadata_requires_celery_with_its_redis_extra(metadata: Message) -> None:
    requirements = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    always = {
        requirement.name.lower(): requirement
        for requirement in requirements
        if requirement.marker is None
    }

    assert set(always) == {"django", "celery", "django-redis"}
    assert always["celery"].extras == {"redis"}
    assert not always["django"].specifier.contains("5.1")
    assert always["django"].specifier.contains("5.2")


def test_metadata_offers_the_extras(metadata: Message) -> None:
    assert set(metadata.get_all("Provides-Extra", [])) == {"bench", "demo", "lint", "test"}


def run(code: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a new process that no Django settings were told of."""
    environment = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    return subprocess.run(
        [sys.executable, "-W", "error:::django_celery_once", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment,
    )


def test_public_names_import_before_django_is_set_up() -> None:
    done = run(
        "from django_celery_once import AlreadyQueued, LockUnavailable, QueueOnce\n"
        "from django.apps import apps\n"
        "from django.conf import settings\n"
        "assert not settings.configured, 'the import read the settings'\n"
        "assert not apps.ready\n"
    )

    assert done.returncode == 0, done.stderr


def test_fixtures_are_loaded_before_django_is_set_up() -> None:
    done = run(
        "import django_celery_once.pytest_plugin\n"
        "from django.conf import settings\n"
        "assert not settings.configured, 'the import read the settings'\n"
    )

    assert done.returncode == 0, done.stderr


def test_task_can_be_defined_before_django_is_set_up() -> None:
    done = run(
        "from celery import shared_task\n"
        "from django_celery_once import QueueOnce\n"
        "@shared_task(base=QueueOnce, once={'keys': ['a']})\n"
        "def report(a, b): ...\n"
    )

    assert done.returncode == 0, done.stderr


def test_import_connects_to_nothing() -> None:
    done = run(
        "import socket\n"
        "def refuse(*args): raise AssertionError('the import opens a connection')\n"
        "socket.socket.connect = refuse\n"
        "import django_celery_once\n"
    )

    assert done.returncode == 0, done.stderr
