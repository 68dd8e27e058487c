"""An ordinary synchronous program on the `openai` package (httpx, blocking sockets)."""

import openai

import openai_jobs
from kept_connections import LIMITS
from stand_in import aborts, base, failure, lines, report

http = openai.DefaultHttpxClient(limits=LIMITS)
client = openai.OpenAI(api_key="sk-test-not-a-real-key", base_url=base("api.openai.com") + "/v1", max_retries=0, http_client=http)


def run(job):
    if job["api"] == "health":
        return {"status": http.get(base("api.openai.com") + "/health").status_code}
    create = client.responses.create if job["api"] == "responses" else client.chat.completions.create
    answer = create(**openai_jobs.arguments(job))
    if not job.get("stream"):
        return openai_jobs.whole(job, answer)
    total = openai_jobs.stream_of(job)
    for chunk in answer:
        total.add(chunk)
        if aborts(job, total.seen["events"]):
            answer.close()
            return total.seen | {"aborted": "close"}
    return total.seen


for line in lines():
    for job in line if isinstance(line, list) else [line]:
        try:
            report(run(job))
        except Exception as error:  # a cut connection surfaces as the transport's own exception
            report(failure(error))
