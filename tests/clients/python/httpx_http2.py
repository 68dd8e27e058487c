"""A program without any SDK: httpx over HTTP/2, every job of a line at once on one connection; without TLS on $CLEAR_TEXT_PORT."""

import asyncio
import json
import os

import httpx

from asyncio_jobs import do_all
from stand_in import base, prompt

CLEAR_TEXT_PORT = os.environ.get("CLEAR_TEXT_PORT")
PROVIDER = f"http://api.openai.com:{CLEAR_TEXT_PORT}" if CLEAR_TEXT_PORT else base("api.openai.com")


async def run(client, job):
    body = {"model": job.get("model", "gpt-4o-mini"), "messages": [{"role": "user", "content": prompt(job)}]}
    if job.get("stream"):
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    headers = {"authorization": "Bearer sk-test-not-a-real-key"} | job.get("headers", {})
    async with client.stream("POST", PROVIDER + "/v1/chat/completions", json=body, headers=headers) as answer:
        seen = {"version": answer.http_version, "status": answer.status_code, "id": None, "events": 0}
        if not job.get("stream"):
            seen["id"] = json.loads(await answer.aread()).get("id")
            return seen
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                seen["id"] = json.loads(line[6:]).get("id") or seen["id"]
                seen["events"] += 1
        return seen


async def main():
    async with httpx.AsyncClient(http2=True, http1=False, timeout=60, limits=httpx.Limits(max_connections=1)) as client:
        await do_all(lambda job: run(client, job))


asyncio.run(main())
