"""All tasks, by name."""

from depthopt.plugins import Plugins
from depthopt.tasks.task import Task

DEFAULT = "classification"
"""The task where none is named."""

TASKS = Plugins("depthopt.tasks", "task", {DEFAULT: "depthopt.tasks.classification:TASK"})
"""What networks are for: depthopt's own tasks, and those of other packages."""


def task_of(task: Task | str) -> Task:
    """A task, given it or its name.

    Raises:
        UsageError: there is no task of that name.
    """
    if isinstance(task, Task):
        return task
    found: Task = TASKS.get(task)
    return found
