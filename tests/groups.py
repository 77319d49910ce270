"""Which tests one process runs after each other (pytest-xdist), and which begin first."""

from __future__ import annotations

from pathlib import Path

import pytest

#: Parameters whose values are tested in different processes: they stand for what is slow to
#: start, or for what takes a while. Tests that share a worker follow each other.
APART = ("any_broker", "mortal_broker", "database", "apps")
WORKERS = ("worker", "hasty_worker")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep together the tests of a worker or of a file, and let what waits most begin first."""
    places: dict[str, int] = {}
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))
        places.setdefault(group(item), len(places))
    items.sort(key=lambda item: (_rank(item), places[group(item)]))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Complain where pytest-xdist has not seen the groups: all would be started many times."""
    items = session.items if getattr(session.config.option, "loadgroup", False) else []
    if any("@" not in item.nodeid for item in items):
        raise pytest.UsageError("This pytest-xdist keeps no groups together with this pytest.")


def group(item: pytest.Item) -> str:
    """Return what stands for all tests that are to follow each other in one process."""
    callspec = getattr(item, "callspec", None)
    params = callspec.params if callspec else {}
    for name in WORKERS:
        if " " in str(params.get(name, "")):
            return f"{name} {params[name]}"
    shared = [str(params[name]) for name in APART if name in params]
    if "management" in Path(item.location[0]).parts:  # a program each, which takes seconds
        shared.append(getattr(item, "originalname", ""))
    return " ".join([item.location[0], *shared])


def _rank(item: pytest.Item) -> int:
    """Return 0 for what takes longest, 1 for what waits long for real parts, 2 for the rest."""
    path = Path(item.location[0])
    if path.stem == "test_databases" or group(item).endswith(" prefork"):
        return 0
    waits = {"integration", "browser", "distributed"} & set(path.parts)
    return 1 if waits or path.stem.endswith(("_outages", "_page")) else 2
