// Responses over the SDK's own WebSocket.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Socket, client, deltas, words } from "./client.mjs";

let socket;
before(() => (socket = new Socket()));
after(() => socket.close());

test("a turn comes in order, without gaps, and ends once", async () => {
  const events = await socket.turn(undefined, "hello from the other language");
  assert.deepEqual(
    events.map((event) => event.sequence_number),
    events.map((_, index) => index),
  );
  const order = events.map((event) => event.type).filter((type) => !/delta|queued/.test(type));
  assert.deepEqual(order, [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
  ]);
  const { response } = events.at(-1);
  assert.equal(deltas(events), "hello from the other language");
  assert.equal(response.output[0].content[0].text, "hello from the other language");
  assert.ok(response.usage.output_tokens >= 5);
  assert.equal(response.usage.total_tokens, response.usage.input_tokens + response.usage.output_tokens);
});

test("lanes run side by side, and each event names its lane", async () => {
  socket.ask("slow", words(400));
  await socket.until("slow", (event) => event.type === "response.output_text.delta");
  const quick = await socket.turn("quick", "overtaken");
  assert.equal(deltas(quick), "overtaken");
  socket.ask("slow", "next in line");
  const first = await socket.ended("slow");
  assert.equal(first.at(-1).response.output[0].content[0].text, words(400));
  assert.equal(deltas(await socket.ended("slow")), "next in line");
});

test("two lanes fork from one response", async () => {
  const trunk = (await socket.turn("trunk", "the shared beginning", { store: true })).at(-1).response;
  socket.ask("left", "to the left", { previous_response_id: trunk.id });
  socket.ask("right", "to the right", { previous_response_id: trunk.id });
  const [left, right] = [await socket.ended("left"), await socket.ended("right")];
  for (const branch of [left, right]) {
    assert.equal(branch.at(-1).response.previous_response_id, trunk.id);
    assert.ok(branch.at(-1).response.usage.input_tokens > trunk.usage.input_tokens);
  }
  assert.equal(deltas(left), "to the left");
  assert.equal(deltas(right), "to the right");
});

test("a cancel by id ends the response with what was released", async () => {
  socket.ask("cancelled", words(3000));
  const begun = await socket.until("cancelled", (event) => event.type === "response.output_text.delta");
  socket.send({ type: "response.cancel", response_id: begun[0].response.id });
  const rest = await socket.ended("cancelled");
  const last = rest.at(-1);
  assert.equal(last.type, "response.incomplete");
  assert.equal(last.response.status, "cancelled");
  const text = last.response.output[0].content[0].text;
  assert.equal(text, deltas(begun) + deltas(rest));
  assert.ok(text.length > 0 && text.length < words(3000).length);
  assert.equal(deltas(await socket.turn("cancelled", "the lane is free")), "the lane is free");
});

test("a warm-up says nothing and can be continued", async () => {
  const warm = (await socket.turn("warm", "a long preamble", { generate: false, store: true })).at(-1).response;
  assert.equal(warm.status, "completed");
  assert.deepEqual(warm.output, []);
  const next = await socket.turn("warm", "go on", { previous_response_id: warm.id });
  assert.equal(deltas(next), "go on");
});

test("a cut takes the official way", async () => {
  const events = await socket.turn("cut", "this holds a forbidden phrase and more");
  const { type, response } = events.at(-1);
  assert.equal(type, "response.incomplete");
  assert.equal(response.incomplete_details.reason, "content_filter");
  assert.equal(response.incomplete_details.category, "custom/example");
  assert.ok(!JSON.stringify(events).includes("forbidden"));
});

test("a fault is told by name and the socket stays open", async () => {
  const [unknown] = await socket.turn("faulty", "hi", { previous_response_id: "resp_unknown" });
  assert.equal(unknown.type, "error");
  assert.equal(unknown.status, 400);
  assert.equal(unknown.error.code, "previous_response_not_found");
  const [refused] = await socket.turn("faulty", "hi", { temperature: 3 });
  assert.equal(refused.error.param, "temperature");
  assert.equal(deltas(await socket.turn("faulty", "still here")), "still here");
});

test("a wrong key is refused before the socket opens", async () => {
  const refused = new Socket({ apiKey: "sluice_live_00000000_wrong" });
  const error = await new Promise((resolve) => refused.sdk.on("error", resolve));
  assert.match(`${error.message} ${error.cause?.message ?? ""}`, /401/);
  await assert.rejects(client({ apiKey: "wrong" }).models.list(), { status: 401, code: "invalid_api_key" });
});
