"""Lets `python -m ultragcn` stand in for the installed command."""

import sys

from ultragcn.cli import main

sys.exit(main())
