"""Answers of the middleware in projects that have less than others."""

from __future__ import annotations

from django.test import RequestFactory, override_settings

from django_celery_once import AlreadyQueued, LockUnavailable
from django_celery_once.middleware import AlreadyQueuedMiddleware


def test_a_project_without_templates_gets_plain_words() -> None:
    """Answer 409 and 503 in text where no template can be found."""
    middleware = AlreadyQueuedMiddleware(lambda request: None)
    for error, status in ((AlreadyQueued(5), 409), (LockUnavailable(alias="locks"), 503)):
        with override_settings(TEMPLATES=[]):
            response = middleware.process_exception(RequestFactory().get("/"), error)
        assert response is not None
        assert response.status_code == status
        assert response["Content-Type"] == "text/plain; charset=utf-8"
        assert response["Retry-After"]
