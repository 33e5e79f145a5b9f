"""All tasks, by name."""

from typing import TYPE_CHECKING

from depthopt.plugins import Plugins

if TYPE_CHECKING:  # torch takes seconds to import, and names of tasks need none of it
    from depthopt.tasks.task import Task

DEFAULT = "classification"
"""The default task."""

_PURPOSES = {
    DEFAULT: "",
    "segmentation": "by masks",
    "restoration": "by images that are to come out",
    "matching": "without labels, to give what the original gives",
    "embedding": "without labels, to keep what lies near",
}
"""What each of depthopt's own tasks is judged by, in words; the default's goes without saying."""

PURPOSES = "; ".join(f"{name}, {told}" if told else name for name, told in _PURPOSES.items())
"""All of these, for help."""

TASKS = Plugins(
    "depthopt.tasks", "task", {name: f"depthopt.tasks.{name}:TASK" for name in _PURPOSES}
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
