"""The page that queues: one answer for each policy."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from benchmarks.soak.tasks import TASKS


@csrf_exempt
def queue(request: HttpRequest, task: str, policy: str, name: str) -> JsonResponse:
    """Queue a task; the middleware answers a duplicate that is raised."""
    result = TASKS[task].apply_async((name,), once={"on_duplicate": policy})
    return JsonResponse({"task_id": result.id or ""}, status=202)


urlpatterns = [path("<str:task>/<str:policy>/<str:name>/", queue)]
