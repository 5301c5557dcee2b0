import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { ServiceError } from "@grpc/grpc-js";
import {
  type CallOptions,
  type ClientOptions,
  RETRYING,
  RerankError,
  status,
} from "@rerankd/client";
import { connect, failure, RANKING, REQUEST } from "./server.js";

/** Calls a server that fails the first attempt; gives how many there were, and how it ended. */
async function attempts(
  test: TestContext,
  error: ServiceError,
  { text = "blue skies", ...call }: CallOptions & { text?: string } = {},
  options: ClientOptions = { serviceConfig: RETRYING },
): Promise<{ count: number; code: status }> {
  let count = 0;
  const client = await connect(
    test,
    {
      rerankOnce: (_, answer) => {
        count += 1;
        if (count === 1) answer(error);
        else answer(null, RANKING);
      },
    },
    options,
  );
  try {
    await client.rerank({ ...REQUEST, documents: [{ text }] }, call);
    return { count, code: status.OK };
  } catch (caught) {
    assert(caught instanceof RerankError);
    return { count, code: caught.code };
  }
}

test("without a policy nothing is tried again", async (t) => {
  const { UNAVAILABLE: code } = status;
  assert.deepEqual(await attempts(t, failure(code), {}, {}), { count: 1, code });
});

test("what fails for a passing reason is tried again, large requests too", async (t) => {
  const text = "x".repeat(20 << 20); // more than all of grpc-js's own buffer for retries
  for (const call of [{}, { text }]) {
    assert.deepEqual(await attempts(t, failure(status.UNAVAILABLE), call), {
      count: 2,
      code: status.OK,
    });
  }
});

test("what fails for good is not", async (t) => {
  const { INVALID_ARGUMENT: code } = status;
  assert.deepEqual(await attempts(t, failure(code)), { count: 1, code });
});

test("the server says when: at once, never, or after the deadline", async (t) => {
  const after = (ms: string) =>
    failure(status.RESOURCE_EXHAUSTED, { "grpc-retry-pushback-ms": ms });
  assert.deepEqual(await attempts(t, after("0")), { count: 2, code: status.OK });
  assert.deepEqual(await attempts(t, after("-1")), { count: 1, code: status.RESOURCE_EXHAUSTED });
  const late = await attempts(t, after("3600000"), { timeoutMs: 1000 });
  assert.equal(late.count, 1);
});
