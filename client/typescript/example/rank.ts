// Ranks a few documents: node build/example/rank.js [ADDRESS], against `make serve`.
import { Client, RerankError, ScoreSource, status } from "@rerankd/client";

const client = new Client(process.argv[2]);
const request = {
  query: "why is the sky blue",
  documents: [
    { id: "bread", text: "bread and salt" },
    { id: "sky", text: "why skies are blue: Rayleigh scattering" },
    { id: "sea", text: "the sea is blue because it takes in red" },
  ],
};

try {
  const { results, usage } = await client.rerank(request, { timeoutMs: 10_000 });
  for (const { index, id, relevanceScore, source } of results) {
    console.log(index, id, relevanceScore, ScoreSource[source]);
  }
  console.log(`${usage?.cachedPairs} cached, ${usage?.scoredPairs} scored`);

  for await (const { isFinal, results } of client.rerankPartial(request)) {
    console.log(
      isFinal ? "final:" : "so far:",
      results.map(({ index }) => index),
    );
  }

  await client.rerank({ ...request, query: "" });
} catch (error) {
  if (!(error instanceof RerankError)) throw error;
  console.log(status[error.code], error.reason, error.violations);
  if (error.code === status.UNAVAILABLE) console.error(error.message);
} finally {
  client.close();
}
