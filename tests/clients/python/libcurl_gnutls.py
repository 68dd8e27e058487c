"""libcurl in the shape that is built on GnuTLS, called by ctypes: its sockets do not block, as in programs written on it."""

import ctypes
import json
import os
import re

from stand_in import PORT, lines, prompt, report

HOST = "api.openai.com"
# Of curl's public curl.h.
CURLOPT_URL, CURLOPT_HTTPHEADER, CURLOPT_COPYPOSTFIELDS, CURLOPT_CAINFO, CURLOPT_CONNECT_TO = 10002, 10023, 10165, 10065, 10243
CURLOPT_POSTFIELDSIZE, CURLOPT_HTTP_VERSION, CURLOPT_WRITEFUNCTION = 60, 84, 20011
CURL_HTTP_VERSION_1_1 = 2

curl = ctypes.CDLL("libcurl-gnutls.so.4")
curl.curl_easy_init.restype = ctypes.c_void_p
curl.curl_slist_append.restype = ctypes.c_void_p
curl.curl_easy_strerror.restype = ctypes.c_char_p
curl.curl_version.restype = ctypes.c_char_p
assert b"GnuTLS" in curl.curl_version(), curl.curl_version()
handle = ctypes.c_void_p(curl.curl_easy_init())


def option(number, value):
    code = curl.curl_easy_setopt(handle, ctypes.c_int(number), value)
    assert code == 0, (number, code)


def strings(values):
    found = None
    for value in values:
        found = ctypes.c_void_p(curl.curl_slist_append(found, value.encode()))
    return found


received = bytearray()


@ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p)
def receive(data, size, count, _user):
    received.extend(ctypes.string_at(data, size * count))
    return size * count


option(CURLOPT_CAINFO, os.environ["SSL_CERT_FILE"].encode())
connect_to = strings([f"{HOST}:{PORT}:127.0.0.1:{PORT}"])
option(CURLOPT_CONNECT_TO, connect_to)
option(CURLOPT_HTTP_VERSION, ctypes.c_long(CURL_HTTP_VERSION_1_1))
option(CURLOPT_WRITEFUNCTION, receive)

for job in lines():
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": prompt(job)}]}
    if job.get("stream"):
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    body = json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-test-not-a-real-key"} | job.get("headers", {})
    header_list = strings(f"{name}: {value}" for name, value in headers.items())
    option(CURLOPT_HTTPHEADER, header_list)
    option(CURLOPT_POSTFIELDSIZE, ctypes.c_long(len(body)))
    option(CURLOPT_COPYPOSTFIELDS, body)
    option(CURLOPT_URL, f"https://{HOST}:{PORT}{job.get('path', '/v1/chat/completions')}".encode())
    received.clear()
    code = curl.curl_easy_perform(handle)
    assert code == 0, curl.curl_easy_strerror(code)
    id = re.search(rb'"id":"([^"]*)"', received)
    report({"id": id and id[1].decode()})
    curl.curl_slist_free_all(header_list)
curl.curl_easy_cleanup(handle)
