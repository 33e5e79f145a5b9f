"""All tasks, by name."""

from typing import TYPE_CHECKING

from depthopt.plugins import Plugins

if TYPE_CHECKING:  # torch takes seconds to import, and names of tasks need none of it
    from depthopt.tasks.task import Task

DEFAULT = "classification"
"""The task where none is named."""

TASKS = Plugins("depthopt.tasks", "task", {DEFAULT: "depthopt.tasks.classification:TASK"})
"""What networks are for: depthopt's own tasks, and those of other packages."""


def task_of(task: "Task | str") -> "Task":
    """A task, given it or its name.

    Raises:
        UsageError: there is no task of that name.
    """
    if not isinstance(task, str):
        return task
    found: Task = TASKS.get(task)
    return found
