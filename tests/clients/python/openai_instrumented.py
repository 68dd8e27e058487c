"""A program on the `openai` package that reports its calls itself, by `INSTRUMENTATION`: OpenTelemetry's or OpenLLMetry's; to `OTLP_SINK`.

The job `{"api": "flush"}` exports what is there, as the SDK does by itself every few seconds.
"""

import os

import openai
from opentelemetry.propagate import inject
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import openai_jobs
from kept_connections import LIMITS
from stand_in import base, failure, lines, report

if os.environ["INSTRUMENTATION"] == "openllmetry":
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor
else:
    from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor

endpoint, is_gzip = os.environ["OTLP_SINK"], os.environ["OTLP_COMPRESSION"] == "gzip"
if os.environ["OTLP_PROTOCOL"] == "grpc":
    from grpc import Compression
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    exporter = OTLPSpanExporter(endpoint=endpoint, insecure=True, compression=Compression.Gzip if is_gzip else Compression.NoCompression)
else:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    exporter = OTLPSpanExporter(endpoint=endpoint + "/v1/traces", compression=Compression.Gzip if is_gzip else Compression.NoCompression)

provider = TracerProvider()
# Nothing is exported but on demand, so that the tests know what came before what.
provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=3_600_000))
OpenAIInstrumentor().instrument(tracer_provider=provider)

# What instrumentations of HTTP clients do: the request names the span that is current.
http = openai.DefaultHttpxClient(limits=LIMITS, event_hooks={"request": [lambda request: inject(request.headers)]})
client = openai.OpenAI(api_key="sk-test-not-a-real-key", base_url=base("api.openai.com") + "/v1", max_retries=0, http_client=http)


def run(job):
    if job["api"] == "flush":
        return {"flushed": provider.force_flush()}
    answer = client.chat.completions.create(**openai_jobs.arguments(job))
    if not job.get("stream"):
        return openai_jobs.whole(job, answer)
    total = openai_jobs.stream_of(job)
    for chunk in answer:
        total.add(chunk)
    return total.seen


for line in lines():
    try:
        report(run(line))
    except Exception as error:  # a cut connection surfaces as the transport's own exception
        report(failure(error))
provider.shutdown()
