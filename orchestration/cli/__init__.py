"""The `xsys` command: the same nouns as the REST interface, on this machine's data folder or on a server."""

from orchestration.cli.app import main

__all__ = ["main"]
