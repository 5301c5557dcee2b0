import type { ClientUnaryCall, CallOptions as GrpcOptions, Metadata } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
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
  toDeadline,
  toMetadata,
  toTypeError,
} from "./options.js";
import { type Rerank, toMessage } from "./request.js";
import { closed, toError } from "./status.js";
import { Stub } from "./stub.js";

/** What holds for one call. */
export interface CallOptions {
  /** Milliseconds, in place of the client's. */
  timeoutMs?: number | undefined;
  /** Cancels the call, which then throws the signal's reason, as `fetch` does. */
  signal?: AbortSignal | undefined;
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
   * @throws TypeError for an argument that cannot be right, such as an address with `http://`, or a
   * token that would leave this machine without TLS
   */
  constructor(address: string = ADDRESS, options: ClientOptions = {}) {
    checkAddress(address);
    this.#address = address;
    this.#timeoutMs = options.timeoutMs ?? 60_000;
    toDeadline(this.#timeoutMs); // refuses here what no call could have
    try {
      const credentials = toCredentials(options);
      this.#metadata = toMetadata(address, options.token, credentials._isSecure());
      this.#stub = new Stub(address, credentials, toChannelOptions(address, options));
    } catch (error) {
      throw toTypeError(error);
    }
  }

  /**
   * Ranks the documents by how relevant they are to the query.
   *
   * @throws RerankError, and TypeError for a request that cannot be written
   */
  async rerank(request: Rerank, options: CallOptions = {}): Promise<RerankResponse> {
    const message = toMessage(request, false);
    return this.#ask((...rest) => this.#stub.rerankOnce(message, ...rest), options);
  }

  /**
   * Gives better and better rankings, each of them whole; the last has `isFinal` set. The call
   * begins with the loop, and leaving the loop early ends it.
   *
   * @throws RerankError from the loop, and TypeError for a request that cannot be written
   */
  async *rerankPartial(
    request: Rerank,
    { timeoutMs, signal }: CallOptions = {},
  ): AsyncGenerator<RerankResponse, void, undefined> {
    const message = toMessage(request, true);
    this.#check(signal);
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

  /** Closes the connection once the calls under way are over. Later calls fail as `CANCELLED`. */
  close(): void {
    this.#closed = true;
    this.#stub.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #ask<Answer>(start: Start<Answer>, { timeoutMs, signal }: CallOptions): Promise<Answer> {
    this.#check(signal);
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

  #check(signal: AbortSignal | undefined): void {
    signal?.throwIfAborted();
    if (this.#closed) throw closed();
  }

  #options(timeoutMs = this.#timeoutMs): GrpcOptions {
    return { deadline: toDeadline(timeoutMs) };
  }

  #toError(error: unknown, signal: AbortSignal | undefined): unknown {
    const own = toError(error, this.#address);
    return signal?.aborted && (own as { code?: unknown }).code === status.CANCELLED
      ? signal.reason
      : own;
  }
}
