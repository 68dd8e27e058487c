"""An ordinary synchronous program on the `anthropic` package."""

import anthropic

import anthropic_jobs
from kept_connections import LIMITS
from stand_in import aborts, base, failure, lines, report

http = anthropic.DefaultHttpxClient(limits=LIMITS)
client = anthropic.Anthropic(api_key="sk-ant-test-not-a-real-key", base_url=base("api.anthropic.com"), max_retries=0, http_client=http)


def run(job):
    if job["api"] == "health":
        return {"status": http.get(base("api.anthropic.com") + "/health").status_code}
    answer = client.messages.create(**anthropic_jobs.arguments(job))
    if not job.get("stream"):
        return anthropic_jobs.whole(answer)
    total = anthropic_jobs.Stream()
    for event in answer:
        total.add(event)
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
