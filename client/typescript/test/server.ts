import type { TestContext } from "node:test";
import { Metadata, Server, ServerCredentials, type ServiceError, type status } from "@grpc/grpc-js";
import { Client, type ClientOptions } from "@rerankd/client";
import {
  RerankResponse,
  type RerankServiceServer,
  RerankServiceService,
} from "../src/generated/rerankd/v1/rerank.js";

export const REQUEST = { query: "why is the sky blue", documents: [{ text: "blue skies" }] };
export const RANKING = RerankResponse.create({ model: "judge", isFinal: true });

/** Runs a server for a test, and gives a client of it. */
export async function connect(
  test: TestContext,
  handlers: Partial<Pick<RerankServiceServer, "rerank" | "rerankOnce" | "listModels">>,
  options?: ClientOptions,
  credentials = ServerCredentials.createInsecure(),
): Promise<Client> {
  const server = new Server({ "grpc.max_receive_message_length": -1 });
  server.addService(RerankServiceService, handlers as RerankServiceServer);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", credentials, (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  const client = new Client(`127.0.0.1:${port}`, options);
  test.after(() => {
    client.close();
    server.forceShutdown();
  });
  return client;
}

export function failure(code: status, trailers: Record<string, string> = {}): ServiceError {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(trailers)) metadata.set(name, value);
  return Object.assign(new Error(), { name: "", code, details: "as told", metadata });
}

/** A promise, and what fulfils it. */
export function gate<T = void>(): { opened: Promise<T>; open: (value: T) => void } {
  let open: (value: T) => void = () => {};
  const opened = new Promise<T>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}
