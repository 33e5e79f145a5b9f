"""The command line: ``depthopt run RECIPE`` and one command per stage."""
