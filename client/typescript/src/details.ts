import type { Metadata } from "@grpc/grpc-js";
import type { Violation } from "./errors.js";
import {
  BadRequest,
  ErrorInfo,
  PreconditionFailure,
  RetryInfo,
} from "./generated/google/rpc/error_details.js";
import { Status } from "./generated/google/rpc/status.js";

/** What a status says beside its code and message. */
export interface Details {
  reason: string;
  retryAfterMs: number | undefined;
  violations: readonly Violation[];
  /** Whether it carries an ErrorInfo: what gRPC itself refuses carries none. */
  known: boolean;
}

/** Reads the trailers of a call that failed. An unreadable status is as none. */
export function toDetails(trailers: Metadata | undefined): Details {
  try {
    return read(trailers);
  } catch {
    return read(undefined);
  }
}

function read(trailers: Metadata | undefined): Details {
  const [value] = trailers?.get("grpc-status-details-bin") ?? [];
  const { details } = Status.decode(value instanceof Buffer ? value : Buffer.alloc(0));

  function find<T>(name: string, { decode }: { decode(bytes: Uint8Array): T }): T | undefined {
    const packed = details.find((each) => each.typeUrl.endsWith(`/google.rpc.${name}`));
    return packed && decode(packed.value);
  }
  const info = find("ErrorInfo", ErrorInfo);
  const delay = find("RetryInfo", RetryInfo)?.retryDelay;
  const bad = find("BadRequest", BadRequest)?.fieldViolations;
  const failed = find("PreconditionFailure", PreconditionFailure)?.violations;
  return {
    known: info !== undefined,
    reason: info?.domain === "rerankd" ? info.reason : "",
    retryAfterMs: delay && delay.seconds * 1e3 + delay.nanos / 1e6,
    violations:
      bad?.map(({ field, description }) => ({ field, description })) ??
      failed?.map(({ subject: field, description }) => ({ field, description })) ??
      [],
  };
}
