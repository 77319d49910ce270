"""Millions of incidents and attempts, written by the database itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from django_celery_once.models import BlockedAttempt, BlockedDuplicate

#: Attempts for each incident, on average.
ATTEMPTS_EACH = 2.5

USERS = """
INSERT INTO auth_user (
    username, first_name, last_name, email, password, is_superuser, is_staff, is_active, date_joined
)
SELECT 'user' || n || '@example.com', '', '', '', '', false, false, true, now()
FROM generate_series(1, 20000) AS n
"""

# Few tasks and people cause most incidents, as in life: hence the powers of random(). Rows are
# written in the order of time, as in life, and more of them lately than a month ago. An incident
# in 200 was never settled, which is what a lock that expired leaves.
INCIDENTS = """
INSERT INTO django_celery_once_blockedduplicate (
    id, task_name, key, label, holder_task_id, holder_user_id, held_since, rejections,
    first_rejection, last_rejection, last_requester, released_at, outcome
)
SELECT
    md5('incident ' || n)::uuid,
    'reports.tasks.send_' || task,
    'once:reports.tasks.send_' || task || ':' || md5('key ' || n),
    'Report ' || task || ' of customer ' || n %% 50000,
    md5('holder ' || n)::uuid::text,
    asker,
    at - interval '90 seconds',
    2 + n %% 7,
    at - interval '60 seconds',
    at,
    'user' || asker || '@example.com',
    CASE WHEN n %% 200 > 0 THEN at + interval '2 minutes' END,
    CASE WHEN n %% 200 = 0 THEN '' WHEN n %% 25 = 0 THEN 'failure' ELSE 'success' END
FROM (
    SELECT
        n,
        (power(random(), 3) * 40)::int AS task,
        1 + (power(random(), 3) * 19999)::int AS asker,
        now() - power(1 - n::float / %s, 1.5) * interval '30 days' AS at
    FROM generate_series(1, %s) AS n
    OFFSET 0
) AS drawn
"""

# Three attempts for every other incident and two for the rest, by colleagues and beat.
ATTEMPTS = """
INSERT INTO django_celery_once_blockedattempt (
    incident_id, number, at, user_id, requester, source, path, view_name, policy, task_id,
    arguments
)
SELECT
    md5('incident ' || 1 + i)::uuid,
    n - (5 * i + 1) / 2,
    now() - power(1 - n::float / %s, 1.5) * interval '30 days',
    CASE WHEN n %% 10 <> 7 THEN asker END,
    CASE WHEN n %% 10 <> 7 THEN 'user' || asker || '@example.com' ELSE 'beat' END,
    CASE WHEN n %% 10 <> 7 THEN 'web' ELSE 'beat' END,
    CASE WHEN n %% 10 <> 7 THEN '/reports/' ELSE '' END,
    CASE WHEN n %% 10 <> 7 THEN 'reports:index' ELSE '' END,
    'raise',
    md5('refused ' || n)::uuid::text,
    ''
FROM (
    SELECT n, (n - 1) * 2 / 5 AS i, 1 + (power(random(), 3) * 19999)::int AS asker
    FROM generate_series(1, %s) AS n
    OFFSET 0
) AS drawn
"""

# Checking a foreign key row by row takes longer than all the rest.
DROPS_AND_MAKES = """
SELECT format('ALTER TABLE %%I DROP CONSTRAINT %%I', r.relname, c.conname),
       format('ALTER TABLE %%I ADD CONSTRAINT %%I ', r.relname, c.conname)
       || pg_get_constraintdef(c.oid)
FROM pg_constraint AS c JOIN pg_class AS r ON r.oid = c.conrelid
WHERE c.contype = 'f' AND r.relname = ANY(%s)
UNION ALL
SELECT format('DROP INDEX %%I', indexname), indexdef
FROM pg_indexes WHERE tablename = ANY(%s) AND indexdef NOT LIKE 'CREATE UNIQUE%%'
"""


def seed(incidents: int) -> int:
    """Write that many incidents with their attempts; return how many attempts."""
    attempts = int(incidents * ATTEMPTS_EACH)
    tables = [model._meta.db_table for model in (BlockedDuplicate, BlockedAttempt)]
    with connection.cursor() as cursor, _without_indexes(tables):
        cursor.execute("SELECT setseed(0.5)")
        cursor.execute(USERS)
        cursor.execute(INCIDENTS, [incidents, incidents])
        cursor.execute(ATTEMPTS, [attempts, attempts])
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"VACUUM (ANALYZE) {connection.ops.quote_name(table)}")
    return attempts


@contextmanager
def _without_indexes(tables: list[str]) -> Iterator[None]:
    """Drop foreign keys and all indexes but unique ones, and make them again afterwards."""
    with connection.cursor() as cursor:
        cursor.execute(DROPS_AND_MAKES, [tables, tables])
        statements = cursor.fetchall()
        for drop, _make in statements:
            cursor.execute(drop)
        yield
        cursor.execute("SET maintenance_work_mem = '512MB'")
        for _drop, make in reversed(statements):
            cursor.execute(make)
