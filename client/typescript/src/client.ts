import type { ClientUnaryCall, CallOptions as GrpcOptions } from "@grpc/grpc-js";
import { Metadata, status } from "@grpc/grpc-js";
import {
  ListModelsRequest,
  type ListModelsResponse,
  type Model,
  type RerankResponse,
  type RerankServiceClient,
} from "./generated/rerankd/v1/rerank.js";
import {
  ADDRESS,
  type ClientOptions,
  checkAddress,
  toChannelOptions,
  toCredentials,
  toMetadata,
} from "./options.js";
import { type Rerank, toMessage } from "./request.js";
import { toError } from "./status.js";
import { Stub } from "./stub.js";

/** What holds for one call. */
export interface CallOptions {
  /** Milliseconds, in place of the client's. */
  timeoutMs?: number | undefined;
  /** Cancels the call, which then throws the signal's reason, as `fetch` does. */
  signal?: AbortSignal | undefined;
}

const LONGEST_MS = 10 * 365 * 24 * 3_600_000;

function checkTimeout(timeoutMs: number): number {
  if (!(timeoutMs >= 0)) throw new TypeError(`timeoutMs: ${timeoutMs} is not 0 or more`);
  return timeoutMs;
}

type Start<Answer> = (
  metadata: Metadata,
  options: GrpcOptions,
  callback: (error: unknown, answer: Answer) => void,
) => ClientUnaryCall;

/** A client of one server, for any number of calls at a time. Close it when done. */
export class Client {
  readonly #address: string;
  readonly #timeoutMs: number;
  readonly #metadata: Metadata;
  readonly #stub: RerankServiceClient;
  #closed = false;

  /**
   * @param address `host:port`, `unix:/path`, or another target of grpc-js, as `dns:///name:port`
   * @throws TypeError for what cannot be meant: an address with a scheme such as `http://`, a token
   * that would leave this machine without TLS, a service config that is no JSON object
   */
  constructor(address: string = ADDRESS, options: ClientOptions = {}) {
    checkAddress(address);
    const credentials = toCredentials(options);
    this.#address = address;
    this.#timeoutMs = checkTimeout(options.timeoutMs ?? 60_000);
    this.#metadata = toMetadata(address, options.token, credentials._isSecure());
    this.#stub = new Stub(address, credentials, toChannelOptions(address, options));
  }

  /**
   * Ranks the documents by how relevant they are to the query.
   *
   * @throws RerankError
   */
  async rerank(request: Rerank, options: CallOptions = {}): Promise<RerankResponse> {
    const message = toMessage(request, false);
    return this.#ask((...rest) => this.#stub.rerankOnce(message, ...rest), options);
  }

  /**
   * Gives better and better rankings, each of them whole; the last has `isFinal` set. The call
   * begins with the loop, and leaving the loop early ends it.
   *
   * @throws RerankError from the loop
   */
  async *rerankPartial(
    request: Rerank,
    { timeoutMs, signal }: CallOptions = {},
  ): AsyncGenerator<RerankResponse, void, undefined> {
    const message = toMessage(request, true);
    signal?.throwIfAborted();
    this.#checkOpen();
    const call = this.#stub.rerank(message, this.#metadata.clone(), this.#options(timeoutMs));
    const cancel = () => call.cancel();
    signal?.addEventListener("abort", cancel);
    try {
      for await (const response of call) {
        signal?.throwIfAborted();
        yield response;
      }
    } catch (error) {
      throw this.#toError(error, signal);
    } finally {
      signal?.removeEventListener("abort", cancel);
      cancel();
    }
  }

  /**
   * Lists the models that a request may name, the default first.
   *
   * @throws RerankError
   */
  async models(options: CallOptions = {}): Promise<Model[]> {
    const message = ListModelsRequest.create();
    const { models } = await this.#ask<ListModelsResponse>(
      (...rest) => this.#stub.listModels(message, ...rest),
      options,
    );
    return models;
  }

  /** Closes the connection once the calls under way are over. Later calls throw a RerankError. */
  close(): void {
    this.#closed = true;
    this.#stub.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #ask<Answer>(start: Start<Answer>, { timeoutMs, signal }: CallOptions): Promise<Answer> {
    signal?.throwIfAborted();
    this.#checkOpen();
    let cancel = () => {};
    try {
      return await new Promise((resolve, reject) => {
        const call = start(this.#metadata.clone(), this.#options(timeoutMs), (error, answer) =>
          error ? reject(error) : resolve(answer),
        );
        cancel = () => call.cancel();
        signal?.addEventListener("abort", cancel);
      });
    } catch (error) {
      throw this.#toError(error, signal); // made here, its stack leads to the caller
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  }

  #checkOpen(): void {
    if (this.#closed) {
      const details = "the client is closed";
      const cause = { code: status.CANCELLED, details, metadata: new Metadata() };
      throw toError(Object.assign(new Error(details), cause), this.#address);
    }
  }

  #options(timeoutMs = this.#timeoutMs): GrpcOptions {
    checkTimeout(timeoutMs);
    // grpc-js throws, where nobody can catch it, for a deadline that no header holds.
    return { deadline: timeoutMs > LONGEST_MS ? Infinity : Date.now() + timeoutMs };
  }

  #toError(error: unknown, signal: AbortSignal | undefined): unknown {
    const own = toError(error, this.#address);
    return signal?.aborted && (own as { code?: unknown }).code === status.CANCELLED
      ? signal.reason
      : own;
  }
}
