"""`python -P -m reconciler.bridge`: configuration from the environment, logs to stderr."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from reconciler.bridge.config import ConfigError, from_environment
from reconciler.bridge.serve import serve
from reconciler.mcpkit import redact


def main() -> int:
    """Serve until a signal. 2: a variable is missing or wrong."""
    try:
        config = from_environment(os.environ)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    handler = logging.StreamHandler()
    handler.setFormatter(redact.Formatter(config.secrets))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    asyncio.run(serve(config))
    return 0


if __name__ == "__main__":
    sys.exit(main())
