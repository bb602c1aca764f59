"""`python -m rlbench`."""

import sys

from rlbench.cli import main

sys.exit(main())
