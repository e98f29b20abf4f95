// The rest of a response whose socket was lost, read over HTTP.

const NOT_FOUND = 404;

/**
 * The events after number `seen`, live until the response has ended; where the server no longer has them one by one,
 * the end alone. @throws {ExchangeError} with status 404 for a response that the server does not know.
 */
export async function* restOf(keys, responseId, seen, signal) {
  const path = `/v1/responses/${encodeURIComponent(responseId)}`;
  try {
    yield* keys.events(`${path}?stream=true&starting_after=${seen}`, signal);
  } catch (error) {
    if (error.status !== NOT_FOUND) throw error;
    const response = await keys.request("GET", path);
    yield { type: `response.${response.status}`, response };
  }
}
