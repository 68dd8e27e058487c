"""A gateway without TLS that asks the provider over TLS: whatever is posted to it goes on, and the answer comes back as it comes.

A job is answered with its port. One process serves many requests at once, as gateways do.
"""

import asyncio
import json
import ssl
import sys

import aiohttp
from aiohttp import web

from stand_in import PORT, base, report


class LoopbackResolver(aiohttp.abc.AbstractResolver):
    async def resolve(self, host, port=0, family=0):
        return [{"hostname": host, "host": "127.0.0.1", "port": PORT, "family": 2, "proto": 0, "flags": 0}]

    async def close(self):
        pass


async def forward(request):
    headers = {"authorization": "Bearer sk-test-not-a-real-key", "content-type": "application/json"}
    url = base("api.openai.com") + request.path
    async with request.app["provider"].post(url, data=await request.read(), headers=headers) as answer:
        response = web.StreamResponse(status=answer.status, headers={"content-type": answer.headers["content-type"]})
        await response.prepare(request)
        async for piece in answer.content.iter_any():
            await response.write(piece)
        await response.write_eof()
        return response


async def main():
    app = web.Application()
    app.router.add_post("/v1/chat/completions", forward)
    connector = aiohttp.TCPConnector(resolver=LoopbackResolver(), ssl=ssl.create_default_context())
    async with aiohttp.ClientSession(connector=connector) as session:
        app["provider"] = session
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        while line := await asyncio.to_thread(sys.stdin.readline):
            json.loads(line)
            report({"port": site._server.sockets[0].getsockname()[1]})
        await runner.cleanup()


asyncio.run(main())
