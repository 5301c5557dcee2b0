/** Calls that fail for a passing reason are made again: pass it as serviceConfig. */
export const RETRYING = `{
  "methodConfig": [
    {
      "name": [{ "service": "rerankd.v1.RerankService" }],
      "retryPolicy": {
        "maxAttempts": 4,
        "initialBackoff": "0.1s",
        "maxBackoff": "2s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]
      }
    }
  ]
}
`;
