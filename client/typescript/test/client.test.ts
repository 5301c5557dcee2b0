import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { Client, RerankError, type ScoreSource, status } from "@rerankd/client";
import { Model, RankedDocument, type RerankRequest } from "../src/generated/rerankd/v1/rerank.js";
import { connect, failure, gate, RANKING, REQUEST } from "./server.js";

test("the caller's request stays as it is, and may leave out what has a default", async (t) => {
  const seen: RerankRequest[] = [];
  const client = await connect(t, {
    rerankOnce: (call, answer) => {
      seen.push(call.request);
      answer(null, RANKING);
    },
    rerank: (call) => {
      seen.push(call.request);
      call.write(RANKING);
      call.end();
    },
  });
  const request = Object.freeze({ ...REQUEST, partialResults: true, topN: 2 });
  await client.rerank(request);
  for await (const ranking of client.rerankPartial({ ...request, partialResults: false })) {
    assert.deepEqual(ranking, RANKING);
  }
  assert.deepEqual(
    seen.map(({ query, topN, partialResults }) => ({ query, topN, partialResults })),
    [false, true].map((partialResults) => ({ query: REQUEST.query, topN: 2, partialResults })),
  );
  assert(request.partialResults);
  assert.deepEqual(seen[0]?.documents, [{ id: "", text: "blue skies", priorScore: undefined }]);
});

test("a request that cannot be written is a TypeError, and leaves nothing behind for the next", async (t) => {
  const client = await connect(t, {
    rerankOnce: (call, answer) => answer(null, { ...RANKING, model: call.request.query }),
  });
  const request = { ...REQUEST, topN: 0.5 };
  const refusal = { name: "TypeError", message: "request: invalid int32: 0.5" };
  await assert.rejects(client.rerank(request), refusal);
  await assert.rejects(client.rerankPartial(request).next(), refusal);
  assert.equal((await client.rerank(REQUEST)).model, REQUEST.query);
});

test("models", async (t) => {
  const models = [Model.create({ name: "judge", isDefault: true, promptPriceUsd: 0 })];
  const client = await connect(t, { listModels: (_, answer) => answer(null, { models }) });
  assert.deepEqual(await client.models(), models);
});

test("values of a newer server survive as numbers", async (t) => {
  const newer = RankedDocument.create({ source: 99 as ScoreSource });
  const client = await connect(t, {
    rerankOnce: (_, answer) => answer(null, { ...RANKING, results: [newer] }),
  });
  assert.equal((await client.rerank(REQUEST)).results[0]?.source, 99);
});

test("messages may be larger than gRPC's own limit", async (t) => {
  const text = "x".repeat(5 << 20);
  const client = await connect(t, {
    rerankOnce: (call, answer) =>
      answer(null, { ...RANKING, model: call.request.documents[0]?.text ?? "" }),
  });
  assert.equal((await client.rerank({ ...REQUEST, documents: [{ text }] })).model, text);
});

test("the way to this machine leads through no proxy", async (t) => {
  process.env.grpc_proxy = "http://127.0.0.1:1";
  t.after(() => delete process.env.grpc_proxy);
  const client = await connect(t, { rerankOnce: (_, answer) => answer(null, RANKING) });
  await client.rerank(REQUEST);
});

test("the token goes with each call", async (t) => {
  const seen: unknown[] = [];
  const client = await connect(
    t,
    {
      rerankOnce: (call, answer) => {
        seen.push(call.metadata.get("authorization"));
        answer(null, RANKING);
      },
    },
    { token: "a-token" },
  );
  await client.rerank(REQUEST);
  await client.rerank(REQUEST);
  assert.deepEqual(seen, [["Bearer a-token"], ["Bearer a-token"]]);
});

test("leaving the loop ends the call", async (t) => {
  const ended = gate();
  const client = await connect(t, {
    rerank: (call) => {
      call.on("cancelled", ended.open);
      call.write(RANKING);
    },
  });
  for await (const _ of client.rerankPartial(REQUEST)) break;
  await ended.opened;
});

test("a loop throws typed errors, after the rankings that came before", async (t) => {
  const client = await connect(t, {
    rerank: (call) => {
      call.write(RANKING);
      call.emit("error", failure(status.UNAVAILABLE));
    },
  });
  let count = 0;
  await assert.rejects(
    async () => {
      for await (const _ of client.rerankPartial(REQUEST)) count += 1;
    },
    (error) => error instanceof RerankError && error.code === status.UNAVAILABLE,
  );
  assert.equal(count, 1);
});

test("a signal ends the call, which throws the signal's reason", async (t) => {
  const begun = gate();
  const ended = gate();
  const endedPartial = gate();
  const client = await connect(t, {
    rerankOnce: (call) => {
      call.on("cancelled", ended.open);
      begun.open();
    },
    rerank: (call) => {
      call.on("cancelled", endedPartial.open);
      call.write(RANKING);
    },
  });
  const reason = new Error("enough");
  const isReason = (error: unknown) => error === reason;

  const once = new AbortController();
  const answer = client.rerank(REQUEST, { signal: once.signal });
  await begun.opened;
  once.abort(reason);
  await assert.rejects(answer, isReason);
  await ended.opened;

  const partial = new AbortController();
  await assert.rejects(async () => {
    for await (const _ of client.rerankPartial(REQUEST, { signal: partial.signal })) {
      partial.abort(reason);
    }
  }, isReason);
  await endedPartial.opened;

  const signal = AbortSignal.abort(reason);
  await assert.rejects(client.models({ signal }), isReason); // the server has no such method
});

test("a signal that outlives its calls keeps nothing of them", async (t) => {
  const client = await connect(t, {
    rerankOnce: (_, answer) => answer(null, RANKING),
    rerank: (call) => {
      call.write(RANKING);
      call.end();
    },
    listModels: (_, answer) => answer(failure(status.INTERNAL)),
  });
  const { signal } = new AbortController();
  const count = () => getEventListeners(signal, "abort").length;
  await client.rerank(REQUEST, { signal });
  assert.equal(count(), 0);
  await assert.rejects(client.models({ signal }), RerankError);
  assert.equal(count(), 0);
  for await (const _ of client.rerankPartial(REQUEST, { signal })) assert.equal(count(), 1);
  assert.equal(count(), 0);
});

test("each call has a deadline: its own, or the client's, or 60 s", async (t) => {
  let begin = 0;
  const minutes: number[] = [];
  const handlers: Parameters<typeof connect>[1] = {
    rerankOnce: (call, answer) => {
      minutes.push(Math.round((Number(call.getDeadline()) - begin) / 60_000));
      answer(null, RANKING);
    },
  };
  const plain = await connect(t, handlers);
  const patient = await connect(t, handlers, { timeoutMs: 3_600_000 });
  begin = Date.now();
  await plain.rerank(REQUEST);
  await patient.rerank(REQUEST);
  await patient.rerank(REQUEST, { timeoutMs: 7_200_000 });
  for (const timeoutMs of [2 ** 31, Number.MAX_SAFE_INTEGER, Number.POSITIVE_INFINITY]) {
    await patient.rerank(REQUEST, { timeoutMs });
  }
  const never = Number.POSITIVE_INFINITY;
  assert.deepEqual(minutes, [1, 60, 120, never, never, never]);
});

test("a timeout that is none is refused at once", async (t) => {
  const client = await connect(t, {});
  for (const timeoutMs of [Number.NaN, -1]) {
    await assert.rejects(client.rerank(REQUEST, { timeoutMs }), TypeError);
    await assert.rejects(client.rerankPartial(REQUEST, { timeoutMs }).next(), TypeError);
    assert.throws(() => new Client(undefined, { timeoutMs }), TypeError);
  }
});

test("a call that takes too long throws", async (t) => {
  const client = await connect(t, { rerankOnce: () => {} });
  await assert.rejects(
    client.rerank(REQUEST, { timeoutMs: 50 }),
    (error) => error instanceof RerankError && error.code === status.DEADLINE_EXCEEDED,
  );
});

test("a client that is closed refuses calls, and ends those under way as they would", async (t) => {
  const begun = gate();
  const go = gate();
  const client = await connect(t, {
    rerankOnce: async (_, answer) => {
      begun.open();
      await go.opened;
      answer(null, RANKING);
    },
  });
  const answer = client.rerank(REQUEST);
  await begun.opened;
  client[Symbol.dispose]();
  const closed = {
    name: "RerankError",
    code: status.CANCELLED,
    message: "the client is closed",
  };
  await assert.rejects(client.rerank(REQUEST), closed);
  await assert.rejects(client.rerankPartial(REQUEST).next(), closed);
  go.open();
  assert.deepEqual(await answer, RANKING);
});

test("nobody is there", async () => {
  const client = new Client("unix:/nowhere/at/all");
  await assert.rejects(client.models(), /^RerankError: cannot reach rerankd at unix:/);
  client.close();
});
