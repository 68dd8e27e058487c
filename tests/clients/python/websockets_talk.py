"""The `websockets` package, deflating as it does by default: one connection for all jobs, many responses."""

import json
import os
import ssl

from stand_in import PORT, lines, prompt, report
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])


def opened(job):
    path = "/v1/responses" if job["api"] == "responses" else "/v1/realtime?model=gpt-realtime"
    headers = {"Authorization": "Bearer sk-test-not-a-real-key"} | job.get("headers", {})
    options = {} if job.get("deflate", True) else {"compression": None}
    return connect(f"wss://api.openai.com:{PORT}{path}", ssl=context, additional_headers=headers, max_size=None, **options)


def ask(socket, job):
    if job["api"] == "responses":
        socket.send(json.dumps({"type": "response.create", "model": job.get("model", "gpt-4o-mini"), "input": prompt(job)}))
    elif job.get("speak"):
        socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": "AAAA" * 10_000}))
    else:
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": prompt(job)}]}
        # In fragments: what is one event need not be one frame.
        text = json.dumps({"type": "conversation.item.create", "item": item})
        socket.send([text[:20], text[20:]])
        socket.send(json.dumps({"type": "response.create"}))


def answer(socket):
    seen = {"id": None, "text": "", "events": 0}
    for message in socket:
        event = json.loads(message)
        seen["events"] += 1
        if event["type"] == "response.output_text.delta":
            seen["text"] += event["delta"]
        elif event["type"] == "response.created":
            seen["id"] = event["response"]["id"]
        elif event["type"] in ("response.done", "response.completed", "error"):
            seen["usage"] = (event.get("response") or {}).get("usage")
            return seen
    return seen


socket = None
for job in lines():
    try:
        socket = socket or opened(job)
        ask(socket, job)
        report(answer(socket))
    except InvalidStatus as refused:
        report({"status": refused.response.status_code})
    except ConnectionClosed:
        report({"closed": True})
if socket:
    socket.close()
