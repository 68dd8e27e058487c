"""An asyncio program that calls several providers at once: {"via": "aiohttp" | "httpx" | "httpx-http2" | "proxy", "port": one of $STAND_INS, ...}.

Every name is at the address of its port. $PROXY: port of the proxy on 127.0.0.1.
"""

import asyncio
import os
import ssl

import aiohttp
import httpx

import stand_in
from asyncio_jobs import do_all
from kept_connections import LIMITS
from stand_in import prompt

ADDRESSES = stand_in.addresses()
_getaddrinfo = stand_in.socket.getaddrinfo


def _by_port(host, port, *arguments, **named):
    return _getaddrinfo(ADDRESSES.get(int(port), host), port, *arguments, **named)


stand_in.socket.getaddrinfo = _by_port


class ByPort(aiohttp.abc.AbstractResolver):
    async def resolve(self, host, port=0, family=0):
        return [{"hostname": host, "host": ADDRESSES[port], "port": port, "family": 2, "proto": 0, "flags": 0}]

    async def close(self):
        pass


async def by_aiohttp(clients, url, body, headers):
    async with clients["aiohttp"].post(url, json=body, headers=headers) as answer:
        return await answer.text()


def by_httpx(name):
    async def call(clients, url, body, headers):
        return (await clients[name].post(url, json=body, headers=headers)).text

    return call


WAYS = {"aiohttp": by_aiohttp} | {name: by_httpx(name) for name in ("httpx", "httpx-http2", "proxy")}


async def run(clients, job):
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": prompt(job)}]}
    if job.get("stream"):
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    headers = {"authorization": "Bearer sk-test-not-a-real-key"} | job.get("headers", {})
    text = await WAYS[job["via"]](clients, f"https://api.openai.com:{job['port']}/v1/chat/completions", body, headers)
    return {"id": text.partition('"id":"')[2].partition('"')[0]}


async def main():
    connector = aiohttp.TCPConnector(resolver=ByPort(), ssl=ssl.create_default_context())
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        httpx.AsyncClient(timeout=60, limits=LIMITS) as http1,
        httpx.AsyncClient(timeout=60, limits=LIMITS, http2=True, http1=False) as http2,
        httpx.AsyncClient(timeout=60, limits=LIMITS, proxy=f"http://127.0.0.1:{os.environ.get('PROXY', 1)}") as proxied,
    ):
        clients = {"aiohttp": session, "httpx": http1, "httpx-http2": http2, "proxy": proxied}
        await do_all(lambda job: run(clients, job))


asyncio.run(main())
