import type { ServiceError, status } from "@grpc/grpc-js";
import type { Details } from "./details.js";

/** One rule that one field breaks, or one document that stayed without a score. */
export interface Violation {
  /** Path of the field, as in the proto: `documents[3].text`. */
  field: string;
  description: string;
}

/** What a call throws. */
export class RerankError extends Error {
  override readonly name = "RerankError";
  /** grpc-js's own error, with trailers and all. */
  declare readonly cause: ServiceError;
  /** The gRPC status code: one of `status`. */
  readonly code: status;
  /** rerankd's reason, as listed in the proto, such as `KEY_REJECTED`; may be empty. */
  readonly reason: string;
  /** Milliseconds after which a new try may succeed, where the server told. */
  readonly retryAfterMs: number | undefined;
  /** The rules that were broken, or the documents that stayed without a score. */
  readonly violations: readonly Violation[];

  constructor(message: string, code: status, details: Omit<Details, "known">, cause: ServiceError) {
    super(message, { cause });
    this.code = code;
    this.reason = details.reason;
    this.retryAfterMs = details.retryAfterMs;
    this.violations = details.violations;
  }
}
