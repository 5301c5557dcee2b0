import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { toDetails } from "./details.js";
import { RerankError } from "./errors.js";

// With this grpc-js begins its words for what `requestSerialize` throws.
const UNWRITABLE = "Request message serialization failure: ";

/**
 * Makes a RerankError of what grpc-js throws, or a TypeError where it could not write the request;
 * anything else stays what it is.
 */
export function toError(error: unknown, address: string): unknown {
  if (!isServiceError(error)) return error;
  const details = toDetails(error.metadata);
  const words = error.details || status[error.code] || "";
  if (!details.known && words.startsWith(UNWRITABLE)) {
    return new TypeError(`request: ${words.slice(UNWRITABLE.length)}`, { cause: error });
  }
  const message = details.known ? words : hint(error.code, words, address);
  return new RerankError(message, error.code, details, error);
}

/** What the calls of a closed client throw: grpc-js would throw a plain Error. */
export function closed(): unknown {
  const details = "the client is closed";
  const metadata = new Metadata();
  return toError(
    Object.assign(new Error(details), { code: status.CANCELLED, details, metadata }),
    "",
  );
}

/** What to do about a status that gRPC itself made. */
function hint(code: status, words: string, address: string): string {
  switch (code) {
    case status.UNAVAILABLE:
      return `cannot reach rerankd at ${address}: ${words}; is it running there? "rerankd serve" starts it`;
    case status.DEADLINE_EXCEEDED:
      return `rerankd at ${address} did not answer in time: ${words}; give the call more time`;
    case status.RESOURCE_EXHAUSTED:
      return `${words}; send fewer documents at once, or raise max_message_bytes on the server`;
    case status.UNIMPLEMENTED:
      return `what listens at ${address} is no rerankd, or an older one: ${words}`;
    default:
      return words;
  }
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "details" in error && "code" in error;
}
