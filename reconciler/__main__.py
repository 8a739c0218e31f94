"""`python -m reconciler` is `opencode-manager`."""

import sys

from reconciler.cli import main

sys.exit(main())
