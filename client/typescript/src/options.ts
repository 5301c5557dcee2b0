import {
  type ChannelCredentials,
  type ChannelOptions,
  credentials,
  type ClientOptions as GrpcOptions,
  Metadata,
} from "@grpc/grpc-js";

/** Where `rerankd serve` listens unless told otherwise. */
export const ADDRESS = "127.0.0.1:50051";

/** How a client connects, and what holds for all its calls. */
export interface ClientOptions {
  /** Each call's timeout in milliseconds, 60,000 unless given; `Infinity`, or 25 days, is for ever. */
  timeoutMs?: number | undefined;
  /** Encrypts the connection. `true`: the server's certificate is checked against Node's roots. */
  tls?: boolean | Tls | undefined;
  /** Sent with each call as `authorization: Bearer TOKEN`. Leaves this machine over TLS only. */
  token?: string | undefined;
  /** A gRPC service config as JSON text, such as `RETRYING`. */
  serviceConfig?: string | undefined;
  /** Pings that notice a connection that went dead. */
  keepalive?: Keepalive | undefined;
  /** Credentials of your own in place of `tls`. */
  credentials?: ChannelCredentials | undefined;
  /** What else grpc-js knows, such as interceptors; wins over what is made of the above. */
  channelOptions?: GrpcOptions | undefined;
}

/** PEM texts, named as in Node's own `tls`. */
export interface Tls {
  /** Whom to trust in place of Node's roots. */
  ca?: string | Buffer | undefined;
  /** The client's own certificate chain, and its key: for servers that ask who calls. */
  cert?: string | Buffer | undefined;
  key?: string | Buffer | undefined;
}

/** Milliseconds. */
export interface Keepalive {
  /** Ping a connection that was silent for so long in a call. Under 5,000 rerankd hangs up. */
  timeMs: number;
  /** Give it up when the answer takes longer. 20,000 unless given. */
  timeoutMs?: number | undefined;
}

/** Throws a TypeError for no address, and for a scheme that gRPC would take for a host's name. */
export function checkAddress(address: string): void {
  const scheme = /^(?:https?|grpcs?|tcp|wss?):\/\//i.exec(address)?.[0];
  if (scheme || address === "") {
    throw new TypeError(
      `address ${JSON.stringify(address)}: give host:port or unix:/path` +
        (scheme ? `, without ${scheme}; TLS is an option of the client` : ""),
    );
  }
}

const LONGEST = 2 ** 31 - 1; // milliseconds, of a timer in Node

/**
 * The moment when a call that begins now is over. From `LONGEST` on it never is: grpc-js keeps no
 * clock for longer ones, and throws where nobody can catch it at those that no header can express.
 */
export function toDeadline(timeoutMs: number): number {
  if (!(timeoutMs >= 0)) throw new TypeError(`timeoutMs: ${timeoutMs} is not 0 or more`);
  return timeoutMs < LONGEST ? Date.now() + timeoutMs : Number.POSITIVE_INFINITY;
}

const LOCAL =
  /^unix:|^(?:dns:(?:\/\/\/)?|ipv4:|ipv6:)?(?:127(?:\.\d{1,3}){3}|localhost|\[::1\])(?::\d+)?$/i;

// The server bounds messages and says so in words; a second bound here would only hide them. A
// message that does not fit into the buffers for retries is silently not retried.
const CHANNEL: ChannelOptions = {
  "grpc.max_send_message_length": -1,
  "grpc.max_receive_message_length": -1,
  "grpc.per_rpc_retry_buffer_size": 2 ** 27,
  "grpc.retry_buffer_size": 2 ** 30,
  // A server that is back is found soon: gRPC by itself waits for up to two minutes.
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 2000,
};

export function toChannelOptions(address: string, options: ClientOptions): GrpcOptions {
  const { keepalive, serviceConfig } = options;
  // grpc-js takes "" and "[]" for a config that says nothing. What else is wrong it refuses itself.
  if (serviceConfig !== undefined && !/^\s*\{/.test(serviceConfig)) {
    throw new TypeError("serviceConfig: give a JSON object");
  }
  return {
    ...CHANNEL,
    // The way to this machine leads through no proxy.
    ...(LOCAL.test(address) && { "grpc.enable_http_proxy": 0 }),
    ...(serviceConfig !== undefined && { "grpc.service_config": serviceConfig }),
    ...(keepalive && { "grpc.keepalive_time_ms": keepalive.timeMs }),
    ...(keepalive?.timeoutMs && { "grpc.keepalive_timeout_ms": keepalive.timeoutMs }),
    ...options.channelOptions,
  };
}

export function toCredentials({ credentials: own, tls }: ClientOptions): ChannelCredentials {
  if (own) return own;
  if (!tls) return credentials.createInsecure();
  const { ca, cert, key } = tls === true ? {} : tls;
  return credentials.createSsl(pem(ca), pem(key), pem(cert));
}

function pem(text: string | Buffer | undefined): Buffer | null {
  return text === undefined ? null : Buffer.from(text);
}

/** Throws a TypeError for a token that cannot be sent, or that anyone on the way could read. */
export function toMetadata(address: string, token: string | undefined, secure: boolean): Metadata {
  const metadata = new Metadata();
  if (token === undefined) return metadata;
  if (!/^[!-~]+$/.test(token)) {
    throw new TypeError("token: give printable ASCII without blanks and line ends");
  }
  if (!secure && !LOCAL.test(address)) {
    throw new TypeError(`token: ${address} is not on this machine, so it is sent over TLS only`);
  }
  metadata.set("authorization", `Bearer ${token}`);
  return metadata;
}

/** Makes one kind of error of what grpc-js, OpenSSL and JSON each say of an option in their own. */
export function toTypeError(error: unknown): unknown {
  if (error instanceof TypeError || !(error instanceof Error)) return error;
  return new TypeError(`options: ${error.message}`, { cause: error });
}
