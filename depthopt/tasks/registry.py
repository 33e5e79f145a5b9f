"""All tasks, by name."""

from typing import TYPE_CHECKING

from depthopt.plugins import Plugins

if TYPE_CHECKING:  # torch takes seconds to import, and names of tasks need none of it
    from depthopt.tasks.task import Task

DEFAULT = "classification"
"""The default task."""

TASKS = Plugins(
    "depthopt.tasks",
    "task",
    {name: f"depthopt.tasks.{name}:TASK" for name in (DEFAULT, "matching", "embedding")},
)
"""Tasks of networks: depthopt's own, and those of other packages."""


def task_of(task: "Task | str") -> "Task":
    """A task by its name. A task itself is returned unchanged.

    Raises:
        UsageError: there is no task of that name.
    """
    if not isinstance(task, str):
        return task
    found: Task = TASKS.get(task)
    return found
