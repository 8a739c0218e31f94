"""A controller with one knob that has no variable: how often what runs is looked at and probed.

    python -m tests.bench.controller SECONDS

Belongs here: nothing else. With a very long time nothing is probed at all, as other supervisors do.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from reconciler import run, settings

if __name__ == "__main__":
    sys.exit(run.run(replace(settings.load(), liveness=float(sys.argv[1])), quiet=True))
