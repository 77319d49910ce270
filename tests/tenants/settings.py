"""Settings of the project of two tenants; addresses are in the environment.

``TENANTS_APPS``  where django_celery_once is installed: "shared" or "tenant"
"""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit

from tests.services import postgresql_url

_address = urlsplit(postgresql_url())
_ours = ["django_celery_once"]
_apps = os.environ.get("TENANTS_APPS", "shared")

SECRET_KEY = "tests-only"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

_common = ["django.contrib.contenttypes", "django.contrib.auth"]
SHARED_APPS = ["django_tenants", "tests.tenants.shops", *_common]
TENANT_APPS = list(_common)
{"shared": SHARED_APPS, "tenant": TENANT_APPS}[_apps].extend(_ours)
INSTALLED_APPS = [*SHARED_APPS, *(each for each in TENANT_APPS if each not in SHARED_APPS)]
TENANT_MODEL = "shops.Shop"
TENANT_DOMAIN_MODEL = "shops.Domain"
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
DATABASES = {
    "default": {
        "ENGINE": "django_tenants.postgresql_backend",
        "NAME": os.environ.get("TENANTS_DATABASE", "once_tenants"),
        "HOST": _address.hostname,
        "PORT": _address.port or 5432,
        "USER": _address.username,
        "PASSWORD": unquote(_address.password or ""),
    }
}
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
    "locks": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": os.environ.get("TENANTS_LOCKS", "redis://127.0.0.1:6379/2"),
        "KEY_FUNCTION": "django_tenants.cache.make_key",
        "REVERSE_KEY_FUNCTION": "django_tenants.cache.reverse_key",
    },
}
# Longer than Celery may take to see that a child is lost.
DJANGO_CELERY_ONCE = {"CACHE": "locks", "LEASE": 7}
