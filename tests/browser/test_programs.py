"""What a page's own script gets: problems in JSON, from plain views and from DRF."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser.test_people import OUTAGE

pytestmark = [
    pytest.mark.needs("chromium"),
    pytest.mark.usefixtures("shop"),
    pytest.mark.parametrize("address", ["/api/", "/api/drf/"]),
]

FETCH = """async (address) => {
    const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
    const headers = { Accept: "application/json", "X-CSRFToken": token };
    const response = await fetch(address, { method: "post", headers });
    return {
        status: response.status,
        type: response.headers.get("Content-Type"),
        later: response.headers.get("Retry-After"),
        json: await response.json().catch(() => null),
    };
}"""
PROBLEM = "application/problem+json"


@pytest.fixture(autouse=True)
def _framework(settings: Any) -> None:
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "rest_framework"]
    settings.REST_FRAMEWORK = {
        "EXCEPTION_HANDLER": "django_celery_once.contrib.drf.exception_handler"
    }


def test_a_duplicate_is_a_problem(page: Page, address: str, published: list[Any]) -> None:
    """409 with the code, the task under way, and when to ask again."""
    page.goto("/ask/")
    assert page.evaluate(FETCH, address)["status"] < 300
    answer = page.evaluate(FETCH, address)
    assert (answer["status"], answer["type"]) == (409, PROBLEM)
    assert 1 <= int(answer["later"]) <= 60
    assert answer["json"]["code"] == "already_queued"
    assert answer["json"]["task_id"] == published[0]["id"]
    assert len(published) == 1


@pytest.mark.usefixtures("no_locks")
def test_an_outage_is_a_problem(page: Page, address: str, published: list[Any]) -> None:
    """503 with the sentence, and nothing is queued."""
    page.goto("/ask/")
    answer = page.evaluate(FETCH, address)
    assert (answer["status"], answer["type"], answer["later"]) == (503, PROBLEM, "5")
    assert (answer["json"]["code"], answer["json"]["detail"]) == ("lock_unavailable", OUTAGE)
    assert published == []
