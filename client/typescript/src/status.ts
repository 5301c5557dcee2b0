import { type ServiceError, status } from "@grpc/grpc-js";
import { toDetails } from "./details.js";
import { RerankError } from "./errors.js";

/** Makes a RerankError of what grpc-js throws; anything else stays what it is. */
export function toError(error: unknown, address: string): unknown {
  if (!isServiceError(error)) return error;
  const details = toDetails(error.metadata);
  const words = error.details || status[error.code] || "";
  const message = details.known ? words : hint(error.code, words, address);
  return new RerankError(message, error.code, details, error);
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
