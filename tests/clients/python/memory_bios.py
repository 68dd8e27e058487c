"""A program that moves TLS records itself, in whatever order: {"ports": [port, ...], "sizes": [size, ...], "sent": [index, ...], "rest": bool}.

For each port there is a connection, kept from job to job. All requests of a job are encrypted, the first for the first port, before any of them is
sent, in the order of `sent`; every prompt has its size. One answer goes out for each request. `rest`: what is sent comes in two pieces, the rest
of all behind the beginnings of all.
"""

import json
import socket
import ssl

from stand_in import addresses, lines, report

ADDRESSES = addresses()
CONTEXT = ssl.create_default_context()


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection((ADDRESSES[port], port))
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = CONTEXT.wrap_bio(self.incoming, self.outgoing, server_hostname="api.openai.com")
        self.port = port
        self.repeat(self.tls.do_handshake)

    def repeat(self, step):
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                if self.outgoing.pending:
                    self.socket.sendall(self.outgoing.read())
                self.incoming.write(self.socket.recv(65536))
            finally:
                # What ends a handshake.
                if step == self.tls.do_handshake and self.outgoing.pending:
                    self.socket.sendall(self.outgoing.read())

    def write(self, size):
        body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x" * size}]})
        host = f"api.openai.com:{self.port}"
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self.tls.write((head + body).encode())
        return self.outgoing.read()

    def answer(self):
        seen = b""
        while b"\r\n\r\n" not in seen:
            seen += self.repeat(lambda: self.tls.read(65536))
        head, _, body = seen.partition(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        while len(body) < length:
            body += self.repeat(lambda: self.tls.read(65536))
        return {"id": json.loads(body)["id"]}


kept = {}
for job in lines():
    ends = [kept.setdefault((at, port), None) or Connection(port) for at, port in enumerate(job["ports"])]
    kept.update({(at, end.port): end for at, end in enumerate(ends)})
    records = [end.write(size) for end, size in zip(ends, job["sizes"])]
    cut = 100 if job.get("rest") else None
    for at in job["sent"]:
        ends[at].socket.sendall(records[at][:cut])
    if cut:
        for at in job["sent"]:
            ends[at].socket.sendall(records[at][cut:])
    for end in ends:
        report(end.answer())
    if job.get("close"):
        kept.clear()
