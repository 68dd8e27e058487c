"""An ordinary asyncio program on the `openai` package (httpx over asyncio: TLS through memory BIOs)."""

import asyncio

import openai

import openai_jobs
from asyncio_jobs import do_all
from kept_connections import LIMITS
from stand_in import aborts, base

http = None
client = None


async def run(job):
    if job["api"] == "health":
        return {"status": (await http.get(base("api.openai.com") + "/health")).status_code}
    create = client.responses.create if job["api"] == "responses" else client.chat.completions.create
    answer = await create(**openai_jobs.arguments(job))
    if not job.get("stream"):
        return openai_jobs.whole(job, answer)
    total = openai_jobs.stream_of(job)
    async for chunk in answer:
        total.add(chunk)
        if aborts(job, total.seen["events"]):
            await answer.close()
            return total.seen | {"aborted": "close"}
    return total.seen


async def main():
    global http, client
    http = openai.DefaultAsyncHttpxClient(limits=LIMITS)
    client = openai.AsyncOpenAI(
        api_key="sk-test-not-a-real-key", base_url=base("api.openai.com") + "/v1", max_retries=0, http_client=http
    )
    await do_all(run)
    await client.close()


asyncio.run(main())
