"""`equipoise`: the command line, a file a command.

Heavy modules are imported inside the commands, so that `--help` answers at once.
"""

from tfx_pipeline.cli.commands import app, main

__all__ = ["app", "main"]
