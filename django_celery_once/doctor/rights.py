"""Examination of what the Redis user of the locks is allowed (ACL)."""

from __future__ import annotations

from django_celery_once.doctor.findings import Finding, not_examined, ok, warning, wrong
from django_celery_once.locks import LockStore
from django_celery_once.locks.redis import RedisStore
from django_celery_once.locks.rights import LESSER

USES = {
    "+scan": "once_locks and the admin can't list locks",
    "+info": "the doctor can't examine the server",
}


def examine_rights(store: LockStore) -> Finding:
    """Try each command that locks need, on keys of the doctor's own."""
    if not isinstance(store, RedisStore):
        return not_examined(f"CACHES[{store.alias!r}] is no Redis.")
    lacking = store.lacking()
    user = store.user()
    if not lacking:
        return ok(f"The Redis user {user!r} may do all that locks need.")
    seen = f"The Redis user {user!r} lacks {', '.join(lacking)}"
    advice = f"Grant it: ACL SETUSER {user} {' '.join(lacking)}"
    if LESSER.issuperset(lacking):
        return warning(f"{seen}: {'; '.join(USES[each] for each in lacking)}.", advice)
    return wrong(f"{seen}: without it tasks can't be queued, started or freed.", advice)
