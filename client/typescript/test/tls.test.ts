import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { ServerCredentials } from "@grpc/grpc-js";
import { RerankError, status } from "@rerankd/client";
import { connect, RANKING, REQUEST } from "./server.js";

/** Reads one of the key pairs that are for these tests alone, each signed by itself, until 2125. */
function fixture(name: string): Buffer {
  return readFileSync(new URL(`../../test/fixtures/${name}`, import.meta.url));
}

test("a server that asks who calls is shown the client's certificate", async (t) => {
  const pair = { private_key: fixture("server.key"), cert_chain: fixture("server.pem") };
  const asking = ServerCredentials.createSsl(fixture("client.pem"), [pair], true);
  const handlers: Parameters<typeof connect>[1] = {
    rerankOnce: (_, answer) => answer(null, RANKING),
  };
  const ca = fixture("server.pem").toString();
  const tls = { ca, cert: fixture("client.pem").toString(), key: fixture("client.key") };
  const known = await connect(t, handlers, { tls }, asking);
  assert.deepEqual(await known.rerank(REQUEST), RANKING);

  for (const strange of [{ ca }, { ...tls, ca: undefined }]) {
    const client = await connect(t, handlers, { tls: strange }, asking);
    await assert.rejects(
      client.rerank(REQUEST),
      (error) => error instanceof RerankError && error.code === status.UNAVAILABLE,
    );
  }
});
