"""An ordinary program on `boto3` (botocore, urllib3, blocking sockets) that calls models through AWS Bedrock."""

import json
import os

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from stand_in import base, failure, lines, prompt, report

client = boto3.client(
    "bedrock-runtime",
    region_name="us-east-1",
    endpoint_url=base("bedrock-runtime.us-east-1.amazonaws.com"),
    verify=os.environ["SSL_CERT_FILE"],
    aws_access_key_id="AKIAEXAMPLE",
    aws_secret_access_key="not-a-real-secret",
    config=Config(retries={"total_max_attempts": 1}),
)
wanted_headers = {}
client.meta.events.register("before-sign.bedrock-runtime.*", lambda request, **_: [request.headers.add_header(*pair) for pair in wanted_headers.items()])


def converse(job):
    given = {
        "modelId": job["model"],
        "messages": [{"role": "user", "content": [{"text": prompt(job)}]}],
        "inferenceConfig": {"maxTokens": 256, "temperature": 0.5},
    }
    if not job.get("stream"):
        answer = client.converse(**given)
        content = answer["output"]["message"]["content"]
        return {"text": "".join(block.get("text", "") for block in content), "finish": answer["stopReason"], "usage": answer["usage"]}
    seen = {"text": "", "finish": None, "usage": None}
    for event in client.converse_stream(**given)["stream"]:
        seen["text"] += event.get("contentBlockDelta", {}).get("delta", {}).get("text", "")
        seen["finish"] = event.get("messageStop", {}).get("stopReason", seen["finish"])
        seen["usage"] = event.get("metadata", {}).get("usage", seen["usage"])
    return seen


def invoke(job):
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 256, "messages": [{"role": "user", "content": prompt(job)}]}
    given = {"modelId": job["model"], "body": json.dumps(body)}
    if not job.get("stream"):
        answer = json.loads(client.invoke_model(**given)["body"].read())
        return {"text": "".join(block.get("text", "") for block in answer["content"]), "finish": answer["stop_reason"]}
    seen = {"text": "", "finish": None}
    for event in client.invoke_model_with_response_stream(**given)["body"]:
        inner = json.loads(event["chunk"]["bytes"])
        seen["text"] += inner.get("delta", {}).get("text", "")
        seen["finish"] = inner.get("delta", {}).get("stop_reason", seen["finish"])
    return seen


for job in lines():
    wanted_headers.clear()
    wanted_headers.update(job.get("headers", {}))
    try:
        report(invoke(job) if job["api"] == "invoke" else converse(job))
    except (ClientError, EventStreamError) as error:
        report({"error": type(error).__name__, "code": error.response["Error"]["Code"]})
    except Exception as error:  # a cut connection surfaces as the transport's own exception
        report(failure(error))
