"""`python -m orchestration.cli` is the `xsys` command."""

from orchestration.cli import main

main()
