"""The `websockets` package, deflating as it does by default: one connection for all jobs, many responses.

On asyncio: the package's threads read and write one TLS session at once, which OpenSSL does not allow and Python before 3.13 does not prevent.
"""

import asyncio
import json
import os
import ssl

from asyncio_jobs import awaited
from stand_in import PORT, prompt, report
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])


async def opened(job):
    path = "/v1/responses" if job["api"] == "responses" else "/v1/realtime?model=gpt-realtime"
    headers = {"Authorization": "Bearer sk-test-not-a-real-key"} | job.get("headers", {})
    options = {} if job.get("deflate", True) else {"compression": None}
    url = f"wss://api.openai.com:{PORT}{path}"
    return await connect(url, ssl=context, additional_headers=headers, max_size=None, **options)


async def ask(socket, job):
    if job["api"] == "responses":
        await socket.send(json.dumps({"type": "response.create", "model": job.get("model", "gpt-4o-mini"), "input": prompt(job)}))
    elif job.get("speak"):
        await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": "AAAA" * 10_000}))
    else:
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": prompt(job)}]}
        # In fragments: what is one event need not be one frame.
        text = json.dumps({"type": "conversation.item.create", "item": item})
        await socket.send([text[:20], text[20:]])
        await socket.send(json.dumps({"type": "response.create"}))


async def answer(socket):
    seen = {"id": None, "text": "", "events": 0}
    async for message in socket:
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


async def main():
    socket = None
    async for job in awaited():
        try:
            socket = socket or await opened(job)
            await ask(socket, job)
            report(await answer(socket))
        except InvalidStatus as refused:
            report({"status": refused.response.status_code})
        except ConnectionClosed:
            report({"closed": True})
    if socket:
        await socket.close()


asyncio.run(main())
