"""A program on pyOpenSSL: the OpenSSL that it uses is inside the extension module of the wheel of `cryptography`."""

import json
import os
import socket

from OpenSSL import SSL
from stand_in import PORT, lines, prompt, report

HOST = "api.openai.com"
context = SSL.Context(SSL.TLS_METHOD)
context.load_verify_locations(os.environ["SSL_CERT_FILE"])
context.set_verify(SSL.VERIFY_PEER, lambda _connection, _certificate, _error, _depth, verified: bool(verified))


def connect():
    connection = SSL.Connection(context, socket.create_connection((HOST, PORT)))
    connection.set_tlsext_host_name(HOST.encode())
    connection.set_connect_state()
    connection.do_handshake()
    return connection


def answer(connection):
    """A whole answer, of a stated length or in chunks."""
    received = b""
    while True:
        head, separator, body = received.partition(b"\r\n\r\n")
        if separator:
            lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            if lengths and len(body) >= int(lengths[0]):
                return received
            if not lengths and body.endswith(b"0\r\n\r\n"):
                return received
        received += connection.recv(65536)


connection = None
for job in lines():
    connection = connection or connect()
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": prompt(job)}]}
    if job.get("stream"):
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    body = json.dumps(body).encode()
    headers = {"Host": f"{HOST}:{PORT}", "Content-Type": "application/json", "Authorization": "Bearer sk-test-not-a-real-key"}
    headers |= job.get("headers", {}) | {"Content-Length": str(len(body))}
    head = "POST /v1/chat/completions HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    connection.sendall(head.encode() + body)
    report({"id": answer(connection).split(b'"id":"')[1].split(b'"')[0].decode()})
if connection:
    connection.shutdown()
