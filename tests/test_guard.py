"""The guard stays where it is, whatever a project puts in the place of a task's hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
from celery import Celery
from celery.exceptions import Ignore
from celery.worker.request import Request
from django.core.exceptions import ImproperlyConfigured

from django_celery_once import QueueOnce, definition, gate
from django_celery_once.locks import open_store
from django_celery_once.registry import replaced_hooks
from django_celery_once.request import OnceRequest

pytestmark = pytest.mark.django_db

seen: list[str] = []


def hook(self: Any, task_id: str, args: Any, kwargs: Any) -> None:
    """Stand for a project's own ``before_start``."""
    seen.append("hook")


def call(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Stand for a project's own ``__call__``."""
    seen.append("call")
    return self.run(*args, **kwargs)


def body(*args: Any) -> None:
    """Stand for a task's body."""
    seen.append("body")


@contextmanager
def annotated(annotations: Any, base: type[QueueOnce] = QueueOnce, **options: Any) -> Iterator[Any]:
    """Return a task of an app of its own, defined under annotations, and its app."""
    seen.clear()
    own = Celery("annotated", broker="memory://", set_as_current=False)
    own.conf.task_annotations = annotations
    decorate = cast("Any", own).task(base=base, name="tests.guard.task", shared=False, **options)
    try:
        decorate(body)
        yield own.tasks["tests.guard.task"]
    finally:
        own.close()


@contextmanager
def refusing(refusals: list[str]) -> Iterator[None]:
    """Let the guard refuse every run."""
    before = gate._guard

    def refuse(task: Any, task_id: str) -> None:
        refusals.append(task_id)
        raise Ignore

    gate.install_guard(refuse)
    try:
        yield
    finally:
        gate.install_guard(before)


class Annotator:
    """An annotation that is an object, as Celery also takes it."""

    def annotate(self, task: Any) -> dict[str, Any]:
        """Return what is set of a task."""
        return {"before_start": hook, "__call__": call}


def _around(own: Callable[..., Any]) -> Callable[..., Any]:
    def before_start(self: Any, *args: Any) -> None:
        seen.append("around")

    return before_start


ANNOTATIONS = [
    {"*": {"before_start": hook}},
    {"tests.guard.task": {"before_start": hook}},
    {"*": {"__call__": call}},
    {"*": {"before_start": hook, "__call__": call}},
    {"*": {"@before_start": _around}},
    [{"*": {"rate_limit": "5/s"}}, Annotator()],
]


@pytest.mark.parametrize("annotations", ANNOTATIONS)
def test_annotations_do_not_replace_the_guard(annotations: Any) -> None:
    """Ask the guard once, before what a setting has put there."""
    refusals: list[str] = []
    with annotated(annotations) as task, refusing(refusals):
        task.apply(task_id="one")
    assert refusals == ["one"]
    assert seen == []


@pytest.mark.parametrize("annotations", ANNOTATIONS)
def test_what_annotations_put_there_is_called(annotations: Any) -> None:
    """Call the project's hooks, and the body, once."""
    with annotated(annotations) as task:
        task.apply()
    assert seen.count("body") == 1
    assert seen.count("hook") + seen.count("around") <= 1
    assert not replaced_hooks(task)


def _on_instance(task: Any) -> None:
    task.before_start = hook.__get__(task)


def _on_class(task: Any) -> None:
    cast("Any", type(task)).before_start = hook


def _on_base(task: Any) -> None:
    cast("Any", type(task).__bases__[0]).before_start = hook


@pytest.mark.parametrize("replace", [_on_instance, _on_class, _on_base])
def test_a_hook_that_is_set_later_does_not_replace_the_guard(replace: Any) -> None:
    """Keep the body from a run that the guard refuses."""

    class Base(QueueOnce):
        abstract = True

    refusals: list[str] = []
    with annotated({}, Base) as task, refusing(refusals):
        replace(task)
        task.apply(task_id="one")
    assert refusals == ["one"]
    assert "body" not in seen


def test_a_subclass_with_hooks_of_its_own_keeps_the_guard() -> None:
    """Go before the hooks of a mixin that stands left of ``QueueOnce``, too."""

    class Mixin:
        before_start = hook
        __call__ = call

    class Base(Mixin, QueueOnce):
        abstract = True

    refusals: list[str] = []
    with annotated({}, Base) as task, refusing(refusals):
        task.apply(task_id="one")
        assert (refusals, seen) == (["one"], [])
    with annotated({}, Base) as task:
        task.apply()
    assert seen == ["hook", "call", "body"]


def test_a_direct_call_is_none_of_the_guards() -> None:
    """Run the body where a task is called as a function."""
    refusals: list[str] = []
    with annotated({}) as task, refusing(refusals):
        task()
        task()
    assert (refusals, seen) == ([], ["body", "body"])


def test_options_may_be_annotated() -> None:
    """Take ``once`` from annotations, and refuse what is wrong with it."""
    with annotated({"*": {"once": {"timeout": 7}}}) as task:
        assert task.once_options().timeout == 7
    wrong = {"*": {"once": {"cache": 5}}}
    with pytest.raises(ImproperlyConfigured, match="cache"), annotated(wrong):
        pass


def _apply_async(self: Any, *args: Any, **options: Any) -> None: ...


class Own(OnceRequest):
    """A project's own request, built upon ours."""


@pytest.mark.parametrize(
    ("annotations", "found"),
    [
        ({"*": {"apply_async": _apply_async}}, [("task_annotations", "apply_async")]),
        ({"*": {"Request": Request}}, [("task_annotations", "Request")]),
        ({"*": {"Request": "celery.worker.request:Request"}}, [("task_annotations", "Request")]),
        ({"*": {"Request": Own}}, []),
        ({"*": {"@apply_async": lambda own: own}}, []),
    ],
)
def test_what_cannot_be_kept_is_found(annotations: Any, found: Any) -> None:
    """Name the setting that replaces what takes a lock, or what sees that a run died."""
    with annotated(annotations) as task:
        assert replaced_hooks(task) == found


def test_an_instance_or_a_class_may_replace_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name what an instance has of its own, and a class whose request is not built upon ours."""
    with annotated({}, Request="celery.worker.request:Request") as task:
        task.apply_async = _apply_async
        found = [("An attribute of the instance", "apply_async"), ("Its class", "Request")]
        assert replaced_hooks(task) == found


def test_celerys_own_tasks_are_left_alone() -> None:
    """Guard a project's tasks by ``task_cls``, but none that Celery brings along."""
    own = Celery("all", broker="memory://", set_as_current=False, task_cls=QueueOnce)
    own.conf.task_always_eager = False
    own.finalize()
    celerys = [task for name, task in own.tasks.items() if name.startswith("celery.")]
    assert len(celerys) >= 9
    assert all(cast("Any", task).once_exempt for task in celerys)
    mine = cast("Any", own).task(name="celery.mine", shared=False)(body)
    assert not mine.once_exempt
    own.tasks["celery.backend_cleanup"].apply_async(headers={"a": "b"})
    assert open_store("locks").scan().locks == ()
    own.close()


@pytest.mark.parametrize(
    ("annotations", "timeout"),
    [
        ({"tests.guard.task": {"once": {"timeout": 5}}}, 5),
        ({"*": {"once": {"timeout": 5}}}, 5),
        ({"*": {"once": {"blocking_timeout": 3}}}, 60),
        ({"*": {"once": {"timeout": 5}}, "tests.guard.task": {"once": {"timeout": 7}}}, 5),
    ],
)
def test_annotations_add_to_the_options(annotations: Any, timeout: float) -> None:
    """Leave the task's others alone; what is for all tasks comes last, as Celery has it."""
    with annotated(annotations, once={"keys": [], "timeout": 60}) as task:
        asked = task.once_options()
    assert (asked.keys, asked.timeout) == ((), timeout)


def test_an_annotation_that_is_wrong_is_refused() -> None:
    """Name it when the task is bound to its app."""
    with (
        pytest.raises(ImproperlyConfigured, match="did you mean 'timeout'"),
        annotated({"*": {"once": {"timeuot": 5}}}),
    ):
        pass
    definition.broken.clear()


def test_e018_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell it in ``check``, and so in the log of a worker that starts."""
    from django_celery_once.checks import tasks as checked

    with annotated({"*": {"apply_async": _apply_async}}) as task:
        monkeypatch.setattr(checked, "known_tasks", lambda: [task])
        monkeypatch.setattr(checked, "import_tasks", lambda: None)
        [message] = checked.check_tasks()
    assert message.id == "django_celery_once.E018"
    assert "task_annotations sets 'apply_async' of tests.guard.task" in message.msg
