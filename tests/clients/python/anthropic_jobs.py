"""Jobs as arguments of the `anthropic` package, and its answers as plain values: the same for sync and asyncio."""

from stand_in import prompt


def arguments(job):
    given = {
        "model": job.get("model", "claude-haiku-4-5"),
        "max_tokens": 1024,
        "messages": [{"role": "user", "content": prompt(job)}],
        "extra_headers": job.get("headers", {}),
    }
    if job.get("stream"):
        given["stream"] = True
    return given


def whole(answer):
    return {
        "id": answer.id,
        "model": answer.model,
        "text": "".join(block.text for block in answer.content if block.type == "text"),
        "tools": [block.name for block in answer.content if block.type == "tool_use"],
        "finish": answer.stop_reason,
        "input_tokens": answer.usage.input_tokens,
        "output_tokens": answer.usage.output_tokens,
    }


class Stream:
    """Adds up the events of a message."""

    def __init__(self):
        self.seen = {"id": None, "model": None, "text": "", "tools": [], "finish": None, "input_tokens": None, "output_tokens": None, "events": 0}

    def add(self, event):
        seen = self.seen
        seen["events"] += 1
        if event.type == "message_start":
            seen["id"], seen["model"] = event.message.id, event.message.model
            seen["input_tokens"], seen["output_tokens"] = event.message.usage.input_tokens, event.message.usage.output_tokens
        elif event.type == "content_block_start" and event.content_block.type == "tool_use":
            seen["tools"].append(event.content_block.name)
        elif event.type == "content_block_delta" and event.delta.type == "text_delta":
            seen["text"] += event.delta.text
        elif event.type == "message_delta":
            seen["finish"], seen["output_tokens"] = event.delta.stop_reason, event.usage.output_tokens
