// An ordinary client on Node's own modules: `chat.js PORT CA_FILE`. Jobs come as JSON, a line each, or a list of those that run at once:
// {"via": "https" | "fetch" | "http2", "stream": bool, "prompt": text, "headers": {}, "port": another}; one line of JSON goes out for each.
"use strict";

const fs = require("node:fs");
const http2 = require("node:http2");
const https = require("node:https");
const readline = require("node:readline");

const [port, caFile] = process.argv.slice(2);
const url = (job) => `https://api.openai.com:${job.port ?? port}/v1/chat/completions`;
const agent = new https.Agent({ keepAlive: true, ca: fs.readFileSync(caFile) });

function body(job) {
  const messages = [{ role: "user", content: job.prompt ?? "Say hello." }];
  const stream = job.stream ? { stream: true, stream_options: { include_usage: true } } : {};
  return JSON.stringify({ model: "gpt-4o-mini", messages, ...stream });
}

function headers(job) {
  return { "content-type": "application/json", authorization: "Bearer sk-test-not-a-real-key", ...job.headers };
}

function byHttps(job) {
  return new Promise((resolve, reject) => {
    const request = https.request(url(job), { method: "POST", agent, headers: headers(job) }, (response) => {
      const pieces = [];
      response.on("data", (piece) => pieces.push(piece));
      response.on("end", () => resolve(Buffer.concat(pieces).toString()));
      response.on("error", reject);
    });
    request.on("error", reject);
    request.end(body(job));
  });
}

// Every call to a port is a stream of one connection.
const sessions = new Map();

function byHttp2(job) {
  const to = job.port ?? port;
  if (!sessions.has(to)) sessions.set(to, http2.connect(`https://api.openai.com:${to}`, { ca: fs.readFileSync(caFile) }));
  const session = sessions.get(to);
  return new Promise((resolve, reject) => {
    const stream = session.request({ ":method": "POST", ":path": "/v1/chat/completions", ...headers(job) });
    const pieces = [];
    stream.on("data", (piece) => pieces.push(piece));
    stream.on("end", () => resolve(Buffer.concat(pieces).toString()));
    stream.on("error", reject);
    stream.end(body(job));
  });
}

async function byFetch(job) {
  const response = await fetch(url(job), { method: "POST", headers: headers(job), body: body(job) });
  let text = "";
  const decoder = new TextDecoder();
  for await (const piece of response.body) text += decoder.decode(piece, { stream: true });
  return text;
}

const ways = { fetch: byFetch, https: byHttps, http2: byHttp2 };

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const jobs = [JSON.parse(line)].flat();
    for (const answer of await Promise.all(jobs.map((job) => ways[job.via](job)))) {
      const id = /"id":"([^"]*)"/.exec(answer);
      process.stdout.write(JSON.stringify({ id: id && id[1] }) + "\n");
    }
  }
  for (const session of sessions.values()) session.close();
  agent.destroy();
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
