"""What an SSH user of the test server may run: git's own two commands, as fast or as slow as the test says.

A program of its own, stdlib only. Asks the server (its argument is a port on 127.0.0.1) how many bytes may pass;
after them it says so and waits there until the server hangs up.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys

ALLOWED = {"git-upload-pack", "git-receive-pack"}


def main() -> int:
    words = shlex.split(os.environ.get("SSH_ORIGINAL_COMMAND", ""))
    if len(words) != 2 or words[0] not in ALLOWED:
        sys.stderr.write("this server serves git and nothing else\n")
        return 1
    argv = ["git", words[0].removeprefix("git-"), words[1]]
    with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=30) as server:
        server.settimeout(None)
        limit = int(server.makefile("rb").readline())
        if limit < 0:
            return subprocess.run(argv, check=False).returncode
        return _stalling(argv, limit, server)


def _stalling(argv: list[str], limit: int, server: socket.socket) -> int:
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as child:
        if child.stdout is None:
            raise AssertionError("a pipe was asked for")
        while limit > 0:
            if not (data := os.read(child.stdout.fileno(), min(limit, 65536))):
                return child.wait()
            os.write(1, data)
            limit -= len(data)
        server.sendall(b"stalled\n")
        server.recv(1)
        child.kill()
    return 1


if __name__ == "__main__":
    sys.exit(main())
