"""`python -m itda_core.cli` is `itda`."""

import sys

from itda_core.cli.command_line import main

sys.exit(main())
