"""A program that writes history as fast as it can and prints the index of each event that is written.

python -m tests.support.history_writer HOME BYTES_PER_FILE
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from reconciler.core.reasons import Reason
from reconciler.settings import Home
from reconciler.state.history import History

if __name__ == "__main__":
    history = History(Home(Path(sys.argv[1])), size=int(sys.argv[2]))
    while True:
        record = history.record(Reason.SERVICE_ENDED, "app", f"event {history.index + 1}")
        os.write(1, b"%d\n" % record.index)
