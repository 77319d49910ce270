"""The small endpoint that a page asks how a call stands."""

from __future__ import annotations

from django.core import signing
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils.cache import add_never_cache_headers, patch_vary_headers
from django.views.decorators.http import require_safe

from django_celery_once.status import Reference, Status, find_out, policy


@require_safe
def status(request: HttpRequest, token: str) -> HttpResponse:
    """Tell how a call stands, as a fragment or, where the client prefers it, as JSON.

    404 for a token that no ``{% once_status %}`` made, 403 for whoever may not see it.
    """
    try:
        found = find_out(Reference.read(token))
    except (signing.BadSignature, TypeError):
        raise Http404("No page has made this address") from None
    own = policy()
    if not own.may_see(request, found):
        raise PermissionDenied
    url, owns = own.get_result_url(request, found), own.owns_result(request, found)
    if request.get_preferred_type(["text/html", "application/json"]) == "application/json":
        response: HttpResponse = JsonResponse(found.as_json(url, own=owns))
    else:
        response = HttpResponse(fragment(request, found, url))
    add_never_cache_headers(response)
    patch_vary_headers(response, ["Accept", "Cookie"])
    return response


def fragment(request: HttpRequest, found: Status, result_url: str) -> str:
    """Return what stands inside the status on a page."""
    context = {"status": found, "result_url": result_url}
    return render_to_string("django_celery_once/status.html", context, request)
