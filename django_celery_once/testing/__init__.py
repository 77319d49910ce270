"""What tests of projects that queue tasks once need; nothing here is for production.

How a call behaves in a test depends on how Celery is set up there:

- with the broker ``memory://`` a call is queued, and keeps its lock, since no worker runs;
- with ``task_always_eager`` a call runs and frees its lock before it returns, so that the same
  call is no duplicate afterwards: ``double_submit`` lets the runs wait, and
  ``with task.reserve(…):`` stands for a call in flight;
- where ``delay`` or ``apply_async`` is mocked there are no locks: mock what the task does.

A ``TestCase`` never commits. What is to be queued at the commit, by ``delay_on_commit`` or a
view with ``once_task``, is queued in ``captureOnCommitCallbacks(execute=True)`` of Django's, and
in ``double_submit``; until then its key is reserved.
"""

from django_celery_once.testing.assertions import assert_once_rejected
from django_celery_once.testing.overrides import once_disabled, once_in_memory
from django_celery_once.testing.submits import DoubleSubmit, double_submit

__all__ = [
    "DoubleSubmit",
    "assert_once_rejected",
    "double_submit",
    "once_disabled",
    "once_in_memory",
]
