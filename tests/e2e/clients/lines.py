"""The conversation with a test: one JSON object per line. See tests/harness/src/client_script.rs."""

import json
import os
import sys
import threading

_out = threading.Lock()


def say(**line):
    with _out:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def closed(reason, code=None):
    """Tells that the connection has ended, and ends: nothing more can come of this client."""
    say(closed=str(reason), code=code)
    os._exit(0)


class Refused(Exception):
    def __init__(self, reason, code=None):
        super().__init__(reason)
        self.code = code


def serve(operations):
    """Does what the test asks for, one operation after the other, until it has no more to ask."""
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = operations[request["op"]](request) or {}
        except Exception as error:  # whatever it is, the test is to hear of it
            reply = {"error": f"{type(error).__name__}: {error}", "code": getattr(error, "code", None)}
        say(reply=reply)
