"""The command line: arguments in, exit code out; a module for each group of commands.

Results go to stdout, everything else to stderr. Heavy parts of the program are imported by the command that needs them,
so that ``--help`` and shell completion are quick.
"""

from mishards.cli.root import main

__all__ = ["main"]
