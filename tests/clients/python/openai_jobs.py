"""Jobs as arguments of the `openai` package, and its answers as plain values: the same for sync and asyncio."""

from stand_in import prompt


def arguments(job):
    given = {"model": job.get("model", "gpt-4o-mini"), "extra_headers": job.get("headers", {})}
    if job["api"] == "responses":
        given["input"] = prompt(job)
    else:
        given["messages"] = [{"role": "user", "content": prompt(job)}]
    if job.get("stream"):
        given["stream"] = True
        if job.get("include_usage", True) and job["api"] == "chat":
            given["stream_options"] = {"include_usage": True}
    return given


def of_chat(answer):
    choice = answer.choices[0]
    return {
        "id": answer.id,
        "model": answer.model,
        "text": choice.message.content,
        "tools": [call.function.name for call in choice.message.tool_calls or []],
        "finish": choice.finish_reason,
        "input_tokens": answer.usage.prompt_tokens if answer.usage else None,
        "output_tokens": answer.usage.completion_tokens if answer.usage else None,
    }


def of_response(answer):
    return {
        "id": answer.id,
        "model": answer.model,
        "text": answer.output_text,
        "tools": [item.name for item in answer.output if item.type == "function_call"],
        "finish": answer.status,
        "input_tokens": answer.usage.input_tokens if answer.usage else None,
        "output_tokens": answer.usage.output_tokens if answer.usage else None,
    }


class ChatStream:
    """Adds up the chunks of a chat completion."""

    def __init__(self):
        self.seen = {"id": None, "model": None, "text": "", "tools": [], "finish": None, "input_tokens": None, "output_tokens": None, "events": 0}

    def add(self, chunk):
        seen = self.seen
        seen["events"] += 1
        seen["id"], seen["model"] = chunk.id, chunk.model
        for choice in chunk.choices:
            seen["text"] += choice.delta.content or ""
            seen["tools"] += [call.function.name for call in choice.delta.tool_calls or [] if call.function.name]
            seen["finish"] = choice.finish_reason or seen["finish"]
        if chunk.usage:
            seen["input_tokens"], seen["output_tokens"] = chunk.usage.prompt_tokens, chunk.usage.completion_tokens


class ResponseStream:
    """Adds up the events of a response."""

    def __init__(self):
        self.seen = {"id": None, "model": None, "text": "", "tools": [], "finish": None, "input_tokens": None, "output_tokens": None, "events": 0}

    def add(self, event):
        events = self.seen["events"] + 1
        if event.type == "response.output_text.delta":
            self.seen["text"] += event.delta
        elif event.type in ("response.created", "response.completed", "response.incomplete", "response.failed"):
            self.seen.update(of_response(event.response) | {"text": self.seen["text"]})
        self.seen["events"] = events


def stream_of(job):
    return ResponseStream() if job["api"] == "responses" else ChatStream()


def whole(job, answer):
    return of_response(answer) if job["api"] == "responses" else of_chat(answer)
