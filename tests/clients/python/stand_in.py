"""What the test programs share: where the provider is, which jobs to do, how to answer.

Jobs come as JSON on standard input, one per line; a line with a list is done concurrently by the asyncio programs.
One JSON line goes out per job: what the *client* saw, so that a test can tell "the agent was in the way" from
"the agent saw something else". The program ends when its input ends.
"""

import json
import os
import socket
import sys

PORT = int(os.environ["STAND_IN_PORT"])
PROVIDERS = ("api.openai.com", "api.anthropic.com", "bedrock-runtime.us-east-1.amazonaws.com", "generativelanguage.googleapis.com")
_system_getaddrinfo = socket.getaddrinfo


def _getaddrinfo(host, *arguments, **named):
    """Every name is the stand-in on loopback: what /etc/hosts would do, without touching the machine."""
    name = host.decode() if isinstance(host, bytes) else host
    if name in PROVIDERS:
        host = "127.0.0.1"
    return _system_getaddrinfo(host, *arguments, **named)


socket.getaddrinfo = _getaddrinfo


def base(host):
    return f"https://{host}:{PORT}"


def addresses():
    """Of several providers by their ports: $STAND_INS, `port=address` separated by commas."""
    pairs = (pair.partition("=") for pair in os.environ["STAND_INS"].split(","))
    return {int(port): address for port, _, address in pairs}


def lines():
    for line in sys.stdin:
        if line.strip():
            yield json.loads(line)


def report(answer):
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def failure(error):
    """An exception of a client library as a value."""
    return {"error": type(error).__name__, "status": getattr(error, "status_code", None)}


def prompt(job):
    return job.get("prompt", "Say hello in one short sentence.")


def aborts(job, seen):
    """Whether the job gives its stream up after `seen` events, and how."""
    after = job.get("abort_after")
    if after is None or seen < after:
        return False
    if job.get("abort") == "exit":
        report({"aborted": "exit", "events": seen})
        os._exit(0)
    return True
