import { type Document, RerankRequest } from "./generated/rerankd/v1/rerank.js";

/** One candidate: a `Document` of which all but the text may be left out. */
export type Candidate = Partial<Document> & Pick<Document, "text">;

/** What to rank: a `RerankRequest` of which all but the query and the documents may be left out. */
export type Rerank = Partial<Omit<RerankRequest, "documents">> &
  Pick<RerankRequest, "query"> & { documents: readonly Candidate[] };

/** Fills in what was left out, in a message of its own: the caller's stays as it is. */
export function toMessage(request: Rerank, partialResults: boolean): RerankRequest {
  const { documents, ...fields } = request;
  return RerankRequest.fromPartial({ ...fields, documents: [...documents], partialResults });
}
