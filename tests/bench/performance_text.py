"""What docs/performance.md says, around its figures."""

PAGE = """\
# What a warm call costs

What the cache answers, measured and written by `make performance`. Change nothing here by hand.

**The machine**: {processor}, {cores} cores, {kernel}, {date};
{software}.
Whoever calls runs on the same machine, and takes its share of it.

**A call** asks for the scores of some documents, all of which are stored. It goes through gRPC on
loopback, and ends when the caller has the reply's bytes; requests are made, and replies checked,
while no clock runs.

## What was to be reached

| what | reach | measured | reached |
| --- | --- | --- | --- |
{targets}

Calls are made in blocks, in which the systems take turns, call by call or run by run. All servers
start anew for each block: where a process's memory happens to lie makes up to a sixth. A ratio is
the median of the blocks' ratios, with the least and the most.

Where something is not reached, [where a call's time goes](../tests/bench/profile.md) says what
holds it, and what was tried. From disk, each document is parsed, hashed, read and opened. Beside
misses, hits wait for what the OpenAI SDK takes of the same processor for each call. With 16 callers
the callers have half of this machine's processors: the ratio is from 0.66 to 0.76, run by run.

## Warm calls

- **floor**: a gRPC server in Python that reads the request and sends a prepared reply as large as
  rerankd's: what gRPC itself costs from Python's asyncio. Beside it the same on uvloop.
- **rerankd, shuffled**: pairs in memory, the documents in another order each time (one document has
  one order only: the same bytes again).
- **rerankd, same bytes**: the very request again.
- **rerankd, from disk**: a query that this process was never asked about before; the database file
  is in the operating system's cache.
- **naive loop**: what one writes in ten minutes: diskcache as it comes, a look-up for each pair;
  the same query each time, shuffled too.

![median of a warm call against the number of documents](performance.png)

Milliseconds, p50 / p99, one caller:

| documents | characters | {systems} |
| --- | --- | {lines} |
{times}

Calls a second (pairs a second), 16 callers at once:

| documents | characters | {systems} |
| --- | --- | {lines} |
{rates}

The callers, one process, take processor time too. Of a call about 100 documents of 750 characters,
in µs:
{callers}.

The server's processor time of a pair, in µs, of the same calls:

| documents | characters | {systems} |
| --- | --- | {lines} |
{costs}

Memory of the processes, at most:
{memory}.
One process serves both shuffled requests and the same bytes.

## Beside LiteLLM

A LiteLLM proxy that caches reranking in its own memory, one process as it comes, asked by HTTP with
connections kept; 100 documents of 750 characters. It caches whole requests, so it only ever gets
the same one here: with the documents in another order it asks for all of them again.

| system | ms, p50 / p99 | calls a second, 16 callers | processor ms a call | memory, MiB |
| --- | --- | --- | --- | --- |
{peers}

## As the store grows

Each in a process of its own. Look-ups and commits are of one query's 100 pairs; the queries that
are looked up were not read before. Memory is what the process holds more than before it opened the
store.

| pairs | opened, ms | 100 look-ups, ms | 100 stored, ms | memory, MiB | bytes a pair on disk |
| --- | --- | --- | --- | --- | --- |
{stores}

Warm requests of any size, documents of 750 characters, shuffled. 10,000 are more than `recent_size`
leaves room for, so they are parsed and hashed each time:

| documents | ms a call | µs a document |
| --- | --- | --- |
{sizes}

{held}

## Hits beside misses

Calls about 20 documents of 750 characters come at random times, as a Zipf stream of queries
(exponent 1.2, of which the server has seen 20,000 calls before): what it has not seen goes to the
model. The calls that the cache answers are made alone, too, before and after.

{mixed}

While there are calls that the cache answers, what models are asked makes way: a process then sends
and reads about 250 calls a second at most.

## Measure it yourself

`make bench` takes five minutes, and prints a table; `make bench FLAGS=--quick` half a minute.
`make bench-peers` installs LiteLLM into an environment of its own. `make bench-growth`
fills stores of up to ten million pairs in `.bench`, where they stay: minutes the first time.
`make performance` does all of that, and writes this page.
"""
