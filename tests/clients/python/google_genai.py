"""An ordinary program on `google-genai`: synchronous, and the same client's asyncio half."""

import asyncio

from google import genai
from google.genai import errors, types

from asyncio_jobs import awaited
from stand_in import base, failure, prompt, report

client = genai.Client(
    api_key="AIza-test-not-a-real-key",
    http_options=types.HttpOptions(base_url=base("generativelanguage.googleapis.com"), timeout=60_000),
)


def arguments(job):
    options = types.HttpOptions(headers=job.get("headers", {}))
    config = types.GenerateContentConfig(http_options=options, max_output_tokens=256, temperature=0.5, system_instruction="Be short.")
    return {"model": job["model"], "contents": prompt(job), "config": config}


class Seen:
    """What the client saw of an answer or of a stream's events."""

    def __init__(self):
        self.seen = {"text": "", "finish": None, "id": None, "tools": [], "output": None}

    def add(self, answer):
        candidate = answer.candidates[0]
        for part in candidate.content.parts:
            self.seen["text"] += part.text or ""
            self.seen["tools"] += [part.function_call.name] if part.function_call else []
        self.seen["finish"] = candidate.finish_reason.value if candidate.finish_reason else self.seen["finish"]
        self.seen["id"] = answer.response_id
        self.seen["output"] = answer.usage_metadata.candidates_token_count


def blocking(job):
    seen = Seen()
    if job.get("stream"):
        for event in client.models.generate_content_stream(**arguments(job)):
            seen.add(event)
    else:
        seen.add(client.models.generate_content(**arguments(job)))
    return seen.seen


async def waiting(job):
    seen = Seen()
    if job.get("stream"):
        async for event in await client.aio.models.generate_content_stream(**arguments(job)):
            seen.add(event)
    else:
        seen.add(await client.aio.models.generate_content(**arguments(job)))
    return seen.seen


async def main():
    async for job in awaited():
        try:
            report(await waiting(job) if job.get("asyncio") else await asyncio.to_thread(blocking, job))
        except errors.APIError as error:
            report({"error": type(error).__name__, "code": error.status})
        except Exception as error:  # a cut connection surfaces as the transport's own exception
            report(failure(error))


asyncio.run(main())
