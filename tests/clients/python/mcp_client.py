"""A client of tools built with the official SDK; a job names the server's URL and how it is spoken to."""

import asyncio

from mcp import Client
from mcp.client.sse import sse_client

from stand_in import failure, lines, report


async def run(job):
    if job["mode"] == "sse":
        client = Client(sse_client(job["url"]))
    else:
        client = Client(job["url"], mode=job["mode"])
    async with client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        added = await client.call_tool("add", {"a": 2, "b": 3})
        failed = await client.call_tool("fail", {})
        await client.read_resource("note://x")
        await client.get_prompt("greet", {"name": "x"})
        return {"tools": tools, "sum": added.structured_content, "failed": failed.is_error}


async def main():
    for job in lines():
        try:
            report(await run(job))
        except Exception as error:
            report(failure(error))


asyncio.run(main())
