"""Asks a supervisord for its status again and again over one connection; prints milliseconds and pids as JSON.

Runs with the interpreter that supervisor is installed for: ask_supervisord.py SOCKET TIMES.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from xmlrpc.client import ServerProxy

transport = importlib.import_module("supervisor.xmlrpc").SupervisorTransport(None, None, f"unix://{sys.argv[1]}")
server = ServerProxy("http://127.0.0.1", transport)
took = []
known: list[dict[str, object]] = []
for _ in range(int(sys.argv[2]) + 1):
    began = time.perf_counter()
    known = server.supervisor.getAllProcessInfo()  # type: ignore[assignment]  # XML-RPC
    took.append(1000 * (time.perf_counter() - began))
pids = {str(each["name"]): each["pid"] for each in known if each["statename"] == "RUNNING"}
print(json.dumps({"milliseconds": took[1:], "pids": pids}))  # noqa: T201  a program's output
