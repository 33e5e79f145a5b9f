"""Where the package's folders lie: all that else is to say of it is in pyproject.toml.

The recipes and the measured latency tables lie at the top of the repository, where people look
for them, and below the package where it is installed.
"""

from setuptools import find_packages, setup

MAPPED = {
    "depthopt.recipes": "recipes",
    "depthopt.latency_tables": "latency_tables",
    "depthopt.latency_tables.amd-epyc": "latency_tables/amd-epyc",
}

setup(packages=[*find_packages(include=["depthopt*"]), *MAPPED], package_dir=MAPPED)
