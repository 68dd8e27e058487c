"""A program on `grpcio`, whose BoringSSL is inside its extension module: Gemini's service, with messages made by hand."""

import os

import grpc

from stand_in import PORT, lines, prompt, report

HOST = "generativelanguage.googleapis.com"
SERVICE = "/google.ai.generativelanguage.v1beta.GenerativeService/"


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number, value):
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(message):
    """Numbers and values, as they come."""
    at = 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = number()
        if key & 7 == 0:
            yield key >> 3, number()
        else:
            length = number()
            yield key >> 3, message[at : at + length]
            at += length


def response_id(message):
    return next(value.decode() for number, value in fields(message) if number == 5)


with open(os.environ["SSL_CERT_FILE"], "rb") as file:
    credentials = grpc.ssl_channel_credentials(file.read())
options = [("grpc.ssl_target_name_override", HOST), ("grpc.default_authority", HOST), ("grpc.use_local_subchannel_pool", 1)]
channel = None

for job in lines():
    if channel and job.get("reconnect"):
        channel.close()
        channel = None
    channel = channel or grpc.secure_channel(f"127.0.0.1:{PORT}", credentials, options)
    request = field(1, "models/gemini-2.5-flash") + field(2, field(1, field(2, prompt(job))) + field(2, "user"))
    metadata = list(job.get("headers", {}).items())
    try:
        if job.get("stream"):
            answers = list(channel.unary_stream(SERVICE + "StreamGenerateContent")(request, metadata=metadata))
        else:
            answers = [channel.unary_unary(SERVICE + "GenerateContent")(request, metadata=metadata)]
        report({"id": response_id(answers[-1])})
    except grpc.RpcError as error:
        report({"error": error.code().name})
if channel:
    channel.close()
