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
  /** Each call's timeout in milliseconds; `Infinity` waits for ever. 60,000 unless given. */
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

/** Throws a TypeError for none, and for one with a scheme that gRPC would take for a host's name. */
export function checkAddress(address: string): void {
  if (!address) throw new TypeError("address: is empty; give host:port or unix:/path");
  const scheme = /^(?:https?|grpcs?|tcp|wss?):\/\//i.exec(address)?.[0];
  if (scheme) {
    throw new TypeError(
      `address ${JSON.stringify(address)}: give host:port or unix:/path, without ${scheme}; ` +
        "TLS is an option of the client",
    );
  }
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
  if (serviceConfig !== undefined) checkServiceConfig(serviceConfig);
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

function checkServiceConfig(text: string): void {
  try {
    const config: unknown = JSON.parse(text);
    if (typeof config === "object" && config !== null && !Array.isArray(config)) return;
  } catch {}
  throw new TypeError("serviceConfig: is no JSON object");
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
