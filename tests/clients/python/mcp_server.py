"""A server of tools built with the official SDK; a job names the transport, the answer its port."""

import socket
import threading
import time

from mcp.server.mcpserver import MCPServer

from stand_in import lines, report

server = MCPServer("tools")


@server.tool()
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.tool()
def fail() -> str:
    raise ValueError("refused on purpose")


@server.resource("note://{name}")
def note(name: str) -> str:
    return f"a note of {name}"


@server.prompt()
def greet(name: str) -> str:
    return f"Greet {name}."


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def is_open(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


for job in lines():
    port = free_port()
    arguments = {"transport": job["transport"], "host": "127.0.0.1", "port": port}
    threading.Thread(target=server.run, kwargs=arguments, daemon=True).start()
    while not is_open(port):
        time.sleep(0.05)
    report({"port": port})
