"""The command line: `dfc`. Modules of this folder that are not needed for `--help` are imported when they run."""

from dfcompiler.cli.main import main

__all__ = ["main"]
