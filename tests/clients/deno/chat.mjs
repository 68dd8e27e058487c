// Calls of a Deno program: jobs come as JSON on standard input, one line each; one JSON line goes out per job, with what the client saw.
// `chat.mjs PORT CA_FILE`

const [port, certificates] = Deno.args;
const client = Deno.createHttpClient({ caCerts: [Deno.readTextFileSync(certificates)], http1: true, http2: false });

async function call(job) {
  const body = { model: "gpt-4o-mini", messages: [{ role: "user", content: job.prompt ?? "Say hello in one short sentence." }] };
  if (job.stream) Object.assign(body, { stream: true, stream_options: { include_usage: true } });
  const headers = { "content-type": "application/json", authorization: "Bearer sk-test-not-a-real-key", ...job.headers };
  const url = `https://api.openai.com:${job.port ?? port}/v1/chat/completions`;
  const answer = await fetch(url, { client, method: "POST", headers, body: JSON.stringify(body) });
  const text = await answer.text();
  const first = job.stream ? text.slice("data: ".length, text.indexOf("\n")) : text;
  return { id: JSON.parse(first).id };
}

let rest = "";
for await (const piece of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
  rest += piece;
  for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n")) {
    const work = JSON.parse(rest.slice(0, end));
    rest = rest.slice(end + 1);
    for (const seen of await Promise.all([work].flat().map(call))) console.log(JSON.stringify(seen));
  }
}
