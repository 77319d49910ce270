"""Examinations of the project's settings and of the log's database."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from django.core import checks
from django.db import DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor

from django_celery_once.checks import CHECKS
from django_celery_once.checks.settings import MIDDLEWARE, has_middleware
from django_celery_once.conf import conf
from django_celery_once.doctor.findings import Finding, State, not_examined, ok, warning, wrong
from django_celery_once.models import BlockedDuplicate

#: The checks that have an examination of their own: shared cache, middleware.
EXAMINED_LIVE = {"django_celery_once.W008", "django_celery_once.W009"}
#: How much longer than ``LOG_RETENTION_DAYS`` rows may stay: pruning is done once a day.
GRACE_DAYS = 1


def examine_settings() -> Iterator[Finding]:
    """Run the app's system checks."""
    found = [message for check in CHECKS for message in check(app_configs=None)]
    told = [each for each in found if not each.is_silenced() and each.id not in EXAMINED_LIVE]
    for each in told:
        state = State.WRONG if each.level >= checks.ERROR else State.WARNING
        yield Finding(state, f"{(each.id or '').rpartition('.')[2]}: {each.msg}", each.hint or "")
    if not told:
        yield ok("The system checks find nothing amiss.")


def examine_middleware() -> Finding:
    """Look for the middleware."""
    if has_middleware():
        return ok("AlreadyQueuedMiddleware is in MIDDLEWARE.")
    return warning(
        "AlreadyQueuedMiddleware is missing: nobody knows who asked, and an AlreadyQueued that a "
        "view lets through becomes a 500.",
        f"Add {MIDDLEWARE!r} to MIDDLEWARE, after AuthenticationMiddleware.",
    )


def examine_migrations() -> Finding:
    """Compare the log's tables with the app's migrations."""
    if trouble := _no_log():
        return not_examined(trouble)
    alias = conf.log_database
    label = BlockedDuplicate._meta.app_label
    try:
        executor = MigrationExecutor(connections[alias])
        leaves = executor.loader.graph.leaf_nodes(label)
        plan = executor.migration_plan(leaves)
    except DatabaseError as error:
        return wrong(
            f"The log's database, DATABASES[{alias!r}], fails: {error}",
            "Blocked duplicates are not written until it works; tasks are guarded all the same.",
        )
    missing = [migration.name for migration, _backwards in plan if migration.app_label == label]
    if missing:
        return wrong(
            f"Not migrated in DATABASES[{alias!r}]: {', '.join(missing)}. Blocked duplicates "
            "can't be written.",
            f"python manage.py migrate {label} --database {alias}",
        )
    return ok(f"All migrations of {label} are applied in DATABASES[{alias!r}].")


def examine_prune() -> Finding:
    """Count the rows that are older than they may be."""
    if trouble := _no_log():
        return not_examined(trouble)
    days = conf.log_retention_days
    rows = BlockedDuplicate.objects.using(conf.log_database)
    try:
        old, overdue = rows.aged(days).count(), rows.aged(days + GRACE_DAYS).exists()
    except DatabaseError as error:
        return not_examined(f"The rows can't be counted: {error}")
    seen = (
        f"{old} blocked duplicate{'s are' if old != 1 else ' is'} older than "
        f"{days:g} day{'s'[: days != 1]} (LOG_RETENTION_DAYS)"
    )
    if overdue:
        return warning(f"{seen}, and nobody prunes them.", "Run once_prune, daily.")
    return ok(f"{seen}.")


def _no_log() -> str:
    if not conf.log:
        return "DJANGO_CELERY_ONCE['LOG'] is False: blocked duplicates are not kept."
    if conf.log_database not in settings.DATABASES:
        return f"DJANGO_CELERY_ONCE['LOG_DATABASE'] names no database: {conf.log_database!r}."
    return ""
