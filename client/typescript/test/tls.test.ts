import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { Client, RerankError, status } from "@rerankd/client";
import {
  type RerankServiceServer,
  RerankServiceService,
} from "../src/generated/rerankd/v1/rerank.js";
import { RANKING, REQUEST } from "./server.js";

// One self-signed certificate serves everyone here; it is good for a hundred years.
const fixture = (name: string) => readFileSync(`test/fixtures/${name}.pem`);
const cert = fixture("cert");
const key = fixture("key");

test("a server that asks for a certificate gets the client's own", async (t) => {
  const server = new Server();
  const handlers: Partial<RerankServiceServer> = {
    rerankOnce: (_, answer) => answer(null, RANKING),
  };
  server.addService(RerankServiceService, handlers as RerankServiceServer);
  const wanted = ServerCredentials.createSsl(cert, [{ cert_chain: cert, private_key: key }], true);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", wanted, (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  const known = new Client(`127.0.0.1:${port}`, { tls: { ca: cert, cert, key } });
  const unknown = new Client(`127.0.0.1:${port}`, { tls: { ca: cert } });
  t.after(() => {
    known.close();
    unknown.close();
    server.forceShutdown();
  });
  assert.deepEqual(await known.rerank(REQUEST), RANKING);
  await assert.rejects(
    unknown.rerank(REQUEST),
    (error) => error instanceof RerankError && error.code === status.UNAVAILABLE,
  );
});
