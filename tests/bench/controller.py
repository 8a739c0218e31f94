"""A controller with settings that have no variable.

    python -m tests.bench.controller '{"liveness": SECONDS}'

With a very long liveness nothing is probed at all, as other supervisors do.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace

from reconciler import app, settings

if __name__ == "__main__":
    sys.exit(app.run(replace(settings.load(), **json.loads(sys.argv[1])), quiet=True))
