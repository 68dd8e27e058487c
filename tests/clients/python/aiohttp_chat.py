"""A program without any SDK: aiohttp, which brings its own HTTP parser over asyncio's TLS."""

import asyncio
import ssl

import aiohttp

from stand_in import PORT, base, failure, lines, prompt, report


class LoopbackResolver(aiohttp.abc.AbstractResolver):
    async def resolve(self, host, port=0, family=0):
        return [{"hostname": host, "host": "127.0.0.1", "port": PORT, "family": 2, "proto": 0, "flags": 0}]

    async def close(self):
        pass


async def run(session, job):
    body = {"model": job.get("model", "gpt-4o-mini"), "messages": [{"role": "user", "content": prompt(job)}]}
    if job.get("stream"):
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    headers = {"authorization": "Bearer sk-test-not-a-real-key"} | job.get("headers", {})
    async with session.post(base("api.openai.com") + "/v1/chat/completions", json=body, headers=headers) as answer:
        if job.get("stream"):
            events = sum([1 async for line in answer.content if line.startswith(b"data: ")])
            return {"status": answer.status, "events": events}
        return {"status": answer.status, "id": (await answer.json()).get("id")}


async def attempt(session, job):
    try:
        return await run(session, job)
    except Exception as error:
        return failure(error)


async def main():
    connector = aiohttp.TCPConnector(resolver=LoopbackResolver(), ssl=ssl.create_default_context())
    async with aiohttp.ClientSession(connector=connector) as session:
        for line in lines():
            jobs = line if isinstance(line, list) else [line]
            for answer in await asyncio.gather(*(attempt(session, job) for job in jobs)):
                report(answer)


asyncio.run(main())
