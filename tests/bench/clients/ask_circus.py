"""Asks a circusd for its status again and again over one connection; prints milliseconds and pids as JSON.

Runs with the interpreter that circus is installed for: ask_circus.py ENDPOINT TIMES.
"""

from __future__ import annotations

import importlib
import json
import sys
import time

client = importlib.import_module("circus.client").CircusClient(endpoint=sys.argv[1], timeout=30)
took = []
for _ in range(int(sys.argv[2]) + 1):
    began = time.perf_counter()
    answer = client.send_message("status")
    took.append(1000 * (time.perf_counter() - began))
names = [name for name, state in answer["statuses"].items() if state == "active"]
listed = {name: client.send_message("list", name=name)["pids"] for name in names}
print(json.dumps({"milliseconds": took[1:], "pids": {name: pids[0] for name, pids in listed.items() if pids}}))  # noqa: T201  a program's output
