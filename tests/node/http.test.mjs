// The SDK's HTTP calls: JSON, server-sent events, and its own helpers that accumulate them.

import assert from "node:assert/strict";
import { test } from "node:test";

import { MODEL, client, deltas, words } from "./client.mjs";

const sdk = client();

async function all(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

test("a response as JSON, read again and deleted", async () => {
  const made = await sdk.responses.create({ model: MODEL, input: "plain JSON" });
  assert.equal(made.output_text, "plain JSON");
  const read = await sdk.responses.retrieve(made.id);
  assert.equal(read.output_text, "plain JSON");
  await sdk.responses.delete(made.id);
  await assert.rejects(sdk.responses.retrieve(made.id), { status: 404, code: "response_not_found" });
});

test("a response as a stream of events", async () => {
  const events = await all(await sdk.responses.create({ model: MODEL, input: words(20), stream: true }));
  assert.equal(deltas(events), words(20));
  assert.deepEqual(
    events.map((event) => event.sequence_number),
    events.map((_, index) => index),
  );
  assert.equal(events.at(-1).type, "response.completed");
});

test("the SDK's accumulator ends with the same response", async () => {
  const stream = sdk.responses.stream({ model: MODEL, input: "gathered by the helper" });
  const final = await stream.finalResponse();
  assert.equal(final.output_text, "gathered by the helper");
  assert.ok(final.usage.output_tokens >= 4);
});

test("a stream can be taken up again after any event", async () => {
  const events = await all(await sdk.responses.create({ model: MODEL, input: words(10), stream: true }));
  const { id } = events[0].response;
  const rest = await all(await sdk.responses.retrieve(id, { stream: true, starting_after: 5 }));
  assert.deepEqual(rest, events.slice(6));
});

test("a running response is cancelled over HTTP", async () => {
  const stream = await sdk.responses.create({ model: MODEL, input: words(3000), stream: true });
  let ended;
  for await (const event of stream) {
    if (event.type === "response.created") ended = sdk.responses.cancel(event.response.id);
  }
  assert.equal((await ended).status, "cancelled");
});

test("input tokens are counted as they will be billed", async () => {
  const { input_tokens: counted } = await sdk.responses.inputTokens.count({ model: MODEL, input: "count these words" });
  const made = await sdk.responses.create({ model: MODEL, input: "count these words" });
  assert.equal(made.usage.input_tokens, counted);
});

test("a chat completion as JSON", async () => {
  const messages = [{ role: "user", content: "hello chat" }];
  const made = await sdk.chat.completions.create({ model: MODEL, messages });
  assert.equal(made.choices[0].message.content, "hello chat");
  assert.equal(made.choices[0].finish_reason, "stop");
});

test("a chat completion as a stream, with usage at the end", async () => {
  const messages = [{ role: "user", content: words(20) }];
  const stream_options = { include_usage: true };
  const chunks = await all(await sdk.chat.completions.create({ model: MODEL, messages, stream: true, stream_options }));
  assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""), words(20));
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.ok(chunks.at(-1).usage.completion_tokens >= 20);
});

test("the SDK's chat helper ends with the same message", async () => {
  const stream = sdk.chat.completions.stream({ model: MODEL, messages: [{ role: "user", content: "once more" }] });
  assert.equal(await stream.finalContent(), "once more");
});

test("a chat completion that is cut says so", async () => {
  const messages = [{ role: "user", content: "a forbidden phrase comes" }];
  const made = await sdk.chat.completions.create({ model: MODEL, messages });
  assert.equal(made.choices[0].finish_reason, "content_filter");
  assert.ok(!JSON.stringify(made).includes("forbidden"));
});

test("a plain completion as a stream", async () => {
  const chunks = await all(await sdk.completions.create({ model: MODEL, prompt: "echo this", stream: true }));
  assert.equal(chunks.map((chunk) => chunk.choices[0]?.text ?? "").join(""), "echo this");
});

test("the models and the moderation are there", async () => {
  const models = await all(sdk.models.list());
  assert.ok(models.some(({ id }) => id === MODEL));
  const { results } = await sdk.moderations.create({ input: "harmless words" });
  assert.equal(results[0].flagged, false);
});

test("a refused parameter is named", async () => {
  const asked = sdk.responses.create({ model: MODEL, input: "hi", top_p: 2 });
  await assert.rejects(asked, { status: 400, param: "top_p" });
});
