// The official SDK as it comes, pointed at the server of the test; and a listener that sorts what is heard by lane.

import OpenAI from "openai";
import { ResponsesWS } from "openai/resources/responses/ws";

export const MODEL = process.env.SLUICE_TEST_MODEL;
const TERMINAL = new Set(["response.completed", "response.incomplete", "response.failed"]);

export function client(more = {}) {
  const options = { baseURL: `${process.env.SLUICE_TEST_URL}/v1`, apiKey: process.env.SLUICE_TEST_KEY, maxRetries: 0 };
  return new OpenAI({ ...options, ...more });
}

/** A socket of the SDK whose events can be waited for, whenever they came. */
export class Socket {
  #events = [];
  #waiting = [];

  constructor(options = {}) {
    this.sdk = new ResponsesWS(client(options));
    this.sdk.on("event", (event) => this.#note(event));
    this.sdk.on("error", () => {}); // error events are `event`s as well; without a listener the SDK throws
    this.closed = new Promise((resolve) => this.sdk.on("close", (code) => resolve(code)));
  }

  send(event) {
    this.sdk.send(event);
  }

  /** Ask for a response on a lane; its events when it has ended. */
  async turn(lane, input, more = {}) {
    this.ask(lane, input, more);
    return this.ended(lane);
  }

  ask(lane, input, more = {}) {
    this.send({ type: "response.create", model: MODEL, ...(lane ? { stream_id: lane } : {}), input, ...more });
  }

  /** Wait for a matching event and take it, with all before it that are of the same lane. */
  async until(lane, matches) {
    for (;;) {
      const at = this.#events.findIndex((event) => event.stream_id === lane && matches(event));
      if (at >= 0) {
        const taken = this.#events.slice(0, at + 1).filter((event) => event.stream_id === lane);
        this.#events = this.#events.filter((event) => !taken.includes(event));
        return taken;
      }
      await new Promise((resolve) => this.#waiting.push(resolve));
    }
  }

  ended(lane) {
    return this.until(lane, (event) => TERMINAL.has(event.type) || event.type === "error");
  }

  async close() {
    this.sdk.close({ code: 1000, reason: "done" });
    return this.closed;
  }

  #note(event) {
    this.#events.push(event);
    for (const wake of this.#waiting.splice(0)) wake();
  }
}

export function deltas(events) {
  return events
    .filter((event) => event.type === "response.output_text.delta")
    .map((event) => event.delta)
    .join("");
}

export function words(count) {
  return Array.from({ length: count }, (_, number) => `word${number}`).join(" ");
}
