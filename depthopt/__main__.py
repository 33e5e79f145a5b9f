"""``python -m depthopt``, which ``accelerate launch -m depthopt`` needs."""

from depthopt.cli.main import main

main()
