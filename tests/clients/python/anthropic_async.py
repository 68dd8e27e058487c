"""An ordinary asyncio program on the `anthropic` package."""

import asyncio

import anthropic

import anthropic_jobs
from kept_connections import LIMITS
from stand_in import aborts, base, failure, lines, report

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


async def attempt(job):
    try:
        return await run(job)
    except Exception as error:
        return failure(error)


async def main():
    global http, client
    http = anthropic.DefaultAsyncHttpxClient(limits=LIMITS)
    client = anthropic.AsyncAnthropic(
        api_key="sk-ant-test-not-a-real-key", base_url=base("api.anthropic.com"), max_retries=0, http_client=http
    )
    pending = lines()
    while (line := await asyncio.to_thread(next, pending, None)) is not None:
        jobs = line if isinstance(line, list) else [line]
        for answer in await asyncio.gather(*map(attempt, jobs)):
            report(answer)
    await client.close()


asyncio.run(main())
