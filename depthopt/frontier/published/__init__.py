"""Read the CSV tables of the two papers' published code.

Which file is which is seen from its columns; ``formats`` lists them. Both codes time a
merged convolution with its activation, without residual adds and projections. Those, and
blocks beyond the files, are entered with 0 ms and a count of 0, and so belong to the
network's fixed part.
"""

from depthopt.frontier.published.importances import read_importances
from depthopt.frontier.published.latencies import read_latencies
from depthopt.frontier.published.tables import Imported, import_tables

__all__ = ["Imported", "import_tables", "read_importances", "read_latencies"]
