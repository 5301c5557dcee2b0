// Performs the calls of tests/clients/golden.json, and reports: see the README beside it.
import { readFileSync } from "node:fs";
import {
  CacheMode,
  Client,
  type ClientOptions,
  type Document,
  RETRYING,
  type Rerank,
  RerankError,
  status,
} from "@rerankd/client";

interface Case {
  name: string;
  method: "rerank" | "rerankPartial" | "models";
  server?: string;
  address?: string;
  request?: Rerank;
  generate?: { count: number; characters: number };
  timeoutMs?: number;
  leaveAfter?: number;
  retry?: boolean;
  tls?: boolean;
  token?: string;
}

const [command, ...rest] = process.argv.slice(2);
if (command === "golden") await golden(rest[0] ?? "", toValues(rest.slice(1)));
else await bench(toValues(rest));

function toValues(words: string[]): Map<string, string> {
  return new Map(
    words.map((word) => {
      const end = word.indexOf("=");
      return [word.slice(0, end), word.slice(end + 1)];
    }),
  );
}

async function golden(path: string, values: Map<string, string>): Promise<void> {
  const { cases }: { cases: Case[] } = JSON.parse(readFileSync(path, "utf8"));
  for (const each of cases) report({ case: each.name, end: await perform(each, values) });
}

function report(event: object): void {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

async function perform(each: Case, values: Map<string, string>): Promise<object> {
  let client: Client;
  try {
    const address = each.address ?? values.get(each.server ?? "rerankd");
    client = new Client(address, toOptions(each, values.get("ca")));
  } catch (error) {
    return toEnd("ADDRESS", (error as Error).message);
  }
  try {
    return await call(client, each);
  } catch (error) {
    if (!(error instanceof RerankError)) throw error;
    const { code, message, reason, retryAfterMs, violations } = error;
    const retryAfter = retryAfterMs === undefined ? undefined : retryAfterMs / 1000;
    return { code: status[code], message, reason, retryAfter, violations };
  } finally {
    client.close();
  }
}

function toOptions(each: Case, ca: string | undefined): ClientOptions {
  return {
    serviceConfig: each.retry ? RETRYING : undefined,
    tls: each.tls && { ca: ca && readFileSync(ca) },
    token: each.token,
  };
}

async function call(client: Client, each: Case): Promise<object> {
  const options = { timeoutMs: each.timeoutMs };
  if (each.method === "models") {
    report({ case: each.name, models: { models: await client.models(options) } });
    return toEnd("OK");
  }
  const request = toRequest(each);
  if (each.method === "rerank") {
    report({ case: each.name, ranking: await client.rerank(request, options) });
    return toEnd("OK");
  }
  let count = 0;
  for await (const ranking of client.rerankPartial(request, options)) {
    report({ case: each.name, ranking });
    count += 1;
    if (count === each.leaveAfter) return toEnd("LEFT");
  }
  return toEnd("OK");
}

function toEnd(code: string, message = ""): object {
  return { code, message, reason: "", violations: [] };
}

/** From proto3 JSON, where enums are names, and numbers may be texts. */
function toRequest({ request, generate }: Case): Rerank {
  const mode: unknown = request?.cacheMode ?? 0;
  const documents = [...(request?.documents ?? []), ...(generate ? generated(generate) : [])];
  return {
    query: "",
    ...request,
    documents: documents.map((each) =>
      each.priorScore === undefined ? each : { ...each, priorScore: Number(each.priorScore) },
    ),
    cacheMode:
      typeof mode === "string"
        ? CacheMode[mode.replace("CACHE_MODE_", "") as keyof typeof CacheMode]
        : (mode as CacheMode),
  };
}

function generated({ count, characters }: { count: number; characters: number }) {
  return Array.from(
    { length: count },
    (_, n): Pick<Document, "id" | "text"> & { priorScore?: number } => ({
      id: `${n}`,
      text: `${n % 11} document`.padEnd(characters, "."),
    }),
  );
}

async function bench(values: Map<string, string>): Promise<void> {
  const calls = Number(values.get("calls"));
  const texts = generated({ count: 100, characters: 750 }).map(({ text }, n) => `${text} ${n}`);
  const servers = ["rerankd", "floor"].map((name) => ({
    name,
    client: new Client(values.get(name)),
    took: [] as number[],
  }));
  for (let n = -Math.floor(calls / 10); n < calls; n += 1) {
    for (const { client, took } of servers) {
      const begin = performance.now();
      const documents = texts.map((text, id) => ({ id: `${id}`, text }));
      const { results } = await client.rerank({ query: "why is the sky blue", documents });
      if (results[0]?.index === undefined || results[0].relevanceScore === undefined) {
        throw new Error("nothing is ranked");
      }
      const end = performance.now();
      if (n >= 0) took.push(end - begin);
    }
  }
  for (const { client } of servers) client.close();
  report(Object.fromEntries(servers.map(({ name, took }) => [name, took])));
}
