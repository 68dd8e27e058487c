"""HTTP/2 without TLS by hand, each frame's head and its payload in a write of their own: {"port", "prompt"}.

Some requests go to a host that has no models, and then a file, whose frames hold what begins like records of TLS. Then comes a call, on the same
connection.
"""

import json
import socket
import struct
import time

from stand_in import lines, prompt, report

DATA, HEADERS, SETTINGS = 0, 1, 4
END_STREAM, END_HEADERS, ACK = 1, 4, 1
# Application data of TLS 1.2, and other types of records.
RECORDS = b"".join(bytes([kind, 3, 3, 0, 30]) + bytes(30) for kind in (23, 22, 21, 20))
# So many that the connection is glanced at.
OTHERS = 12
PIECES = 60
# Between two of them: by then it is known what the first request is.
PAUSE = 0.02


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream), payload


def fields(**values):
    """Literals without indexing (RFC 7541 section 6.2.2)."""
    names = [(":" + name if name in ("method", "scheme", "authority", "path") else name.replace("_", "-"), value) for name, value in values.items()]
    return b"".join(b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode() for name, value in names)


def send(connection, *pieces):
    for piece in pieces:
        if piece:
            connection.sendall(piece)


def read(connection, count):
    got = b""
    while len(got) < count:
        more = connection.recv(count - len(got))
        if not more:
            raise EOFError("the server has closed the connection")
        got += more
    return got


def body(connection, stream):
    """Of the answer on this stream."""
    whole = b""
    while True:
        head = read(connection, 9)
        kind, flags, of = head[3], head[4], struct.unpack(">I", head[5:])[0]
        payload = read(connection, int.from_bytes(head[:3], "big"))
        if kind == SETTINGS and not flags & ACK:
            send(connection, *frame(SETTINGS, ACK, 0, b""))
        if of == stream and kind == DATA:
            whole += payload
        if of == stream and kind in (DATA, HEADERS) and flags & END_STREAM:
            return whole


def work(job):
    with socket.create_connection(("127.0.0.1", job["port"])) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        send(connection, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"".join(frame(SETTINGS, 0, 0, b"")))
        streams = iter(range(1, 1000, 2))
        for stream, _ in zip(streams, range(OTHERS)):
            head = fields(method="GET", scheme="http", authority="files.example", path="/list")
            send(connection, *frame(HEADERS, END_HEADERS | END_STREAM, stream, head))
            body(connection, stream)
        stream = next(streams)
        head = fields(method="POST", scheme="http", authority="files.example", path="/upload", content_type="application/octet-stream")
        send(connection, *frame(HEADERS, END_HEADERS, stream, head))
        for _ in range(PIECES):
            time.sleep(PAUSE)
            send(connection, *frame(DATA, 0, stream, RECORDS))
        send(connection, *frame(DATA, END_STREAM, stream, RECORDS))
        body(connection, stream)
        stream = next(streams)
        asked = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": prompt(job)}]}
        head = fields(method="POST", scheme="http", authority="api.openai.com", path="/v1/chat/completions", content_type="application/json")
        send(connection, *frame(HEADERS, END_HEADERS, stream, head))
        send(connection, *frame(DATA, END_STREAM, stream, json.dumps(asked).encode()))
        return {"id": json.loads(body(connection, stream)).get("id")}


for job in lines():
    report(work(job))
