"""`python -m reconciler` is `opencode-manager`."""

import sys

from reconciler.frontends.cli.main import main

sys.exit(main())
