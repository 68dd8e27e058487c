"""An ordinary asyncio program on the `anthropic` package."""

import asyncio

import anthropic

import anthropic_jobs
from asyncio_jobs import do_all
from kept_connections import LIMITS
from stand_in import aborts, base

http = None
client = None


async def run(job):
    if job["api"] == "health":
        return {"status": (await http.get(base("api.anthropic.com") + "/health")).status_code}
    answer = await client.messages.create(**anthropic_jobs.arguments(job))
    if not job.get("stream"):
        return anthropic_jobs.whole(answer)
    total = anthropic_jobs.Stream()
    async for event in answer:
        total.add(event)
        if aborts(job, total.seen["events"]):
            await answer.close()
            return total.seen | {"aborted": "close"}
    return total.seen


async def main():
    global http, client
    http = anthropic.DefaultAsyncHttpxClient(limits=LIMITS)
    client = anthropic.AsyncAnthropic(
        api_key="sk-ant-test-not-a-real-key", base_url=base("api.anthropic.com"), max_retries=0, http_client=http
    )
    await do_all(run)
    await client.close()


asyncio.run(main())
