/**
 * Client for rerankd, the caching proxy for LLM reranking.
 *
 * @packageDocumentation
 */
export { status } from "@grpc/grpc-js";
export { type CallOptions, Client } from "./client.js";
export { RerankError, type Violation } from "./errors.js";
export {
  CacheMode,
  Document,
  Model,
  RankedDocument,
  RerankRequest,
  RerankResponse,
  ScoreSource,
  UnscoredDetail,
  UnscoredReason,
  Usage,
} from "./generated/rerankd/v1/rerank.js";
export { RETRYING } from "./generated/service_config.js";
export { ADDRESS, type ClientOptions, type Keepalive, type Tls } from "./options.js";
export type { Candidate, Rerank } from "./request.js";
