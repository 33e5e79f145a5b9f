"""The errors that depthopt raises on purpose.

    DepthoptError
    ├── UsageError             the user can correct it: exit code 2
    │   ├── ModelError         an unknown or unusable model
    │   ├── DataError          a missing, empty or damaged data set
    │   ├── RecipeError        a recipe that does not follow its schema
    │   ├── RuntimeUnavailable a runtime that is unknown or not installed
    │   ├── TableError         a gap in a table, or tables of unlike conditions
    │   ├── ArtefactError      a file that is cut short, damaged or of a newer schema
    │   └── InfeasibleBudget   no plan is that fast
    ├── CheckFailed            a result did not pass its own check: exit code 1
    └── WriteFailed            a full disk, a folder that may not be written: exit code 1

Every message is one line: what, where (node, key, file), the value against the
expected one, and what to do.
"""


class DepthoptError(Exception):
    """Base of all errors that depthopt raises on purpose."""


class UsageError(DepthoptError):
    """Input that the user can correct. The command line exits with code 2."""


class ModelError(UsageError):
    """A model that is unknown, has no convolution, or has unusable weights."""


class DataError(UsageError):
    """A data set that is unknown, missing, empty or damaged."""


class RecipeError(UsageError):
    """A recipe or an override that does not follow the schema."""


class RuntimeUnavailable(UsageError):  # noqa: N818 - named for what is the case
    """A runtime that is unknown or not installed. The message holds the pip command."""


class TableError(UsageError):
    """A table with a gap, or tables made under unlike conditions."""


class ArtefactError(UsageError):
    """A file that is missing, cut short, damaged or of a newer schema."""


class InfeasibleBudget(UsageError):  # noqa: N818 - named for what is the case
    """A budget below the fastest plan. The message names that plan's latency."""


class CheckFailed(DepthoptError):  # noqa: N818 - named for what is the case
    """A result that did not pass its check. The command line exits with code 1."""


class WriteFailed(DepthoptError, OSError):  # noqa: N818 - named for what is the case
    """A file that the system refused to write. The command line exits with code 1."""
