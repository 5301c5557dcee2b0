"""The openai SDK with nothing around it, in a process of its own: `python -m bench.bare`.

For each line that it reads, which says how, it makes the calls that a server would, and then
prints one: `create`, with the types that the SDK is used for, or `post`, plain JSON.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import httpx2
import openai

from bench.texts import texts
from rerankd_server.scoring import prompt
from rerankd_server.scoring.parameters import Parameters


async def _create(client: openai.AsyncOpenAI, body: Any) -> None:
    reply = await client.chat.completions.create(**body)
    assert reply.choices[0].message.content


async def _post(client: openai.AsyncOpenAI, body: Any) -> None:
    reply = await client.post("/chat/completions", body=body, cast_to=httpx2.Response)
    assert reply.json()["choices"][0]["message"]["content"]


_HOW = {"create": _create, "post": _post}


async def _calls(
    client: openai.AsyncOpenAI, how: str, bodies: Sequence[Any], concurrency: int
) -> None:
    queue = iter(bodies)

    async def work() -> None:
        for body in queue:
            await _HOW[how](client, body)

    await asyncio.gather(*(work() for _ in range(concurrency)))


def _body(query: str, text: str) -> Any:
    messages = [
        {"role": "system", "content": prompt.SYSTEM},
        {"role": "user", "content": prompt.user_message(query, "", text)},
    ]
    return Parameters().body("gpt-4o-mini", {"messages": messages})


async def _serve(base_url: str, calls: int, concurrency: int) -> None:
    client = openai.AsyncOpenAI(
        api_key="none",
        base_url=base_url,
        max_retries=0,
        http_client=openai.DefaultAioHttpClient(),
    )
    bodies = [_body("cost", text) for text in texts("cost", calls)]
    async with client:
        while how := await asyncio.to_thread(sys.stdin.readline):
            await _calls(client, how.strip(), bodies, concurrency)
            print(flush=True)  # noqa: T201


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.bare")
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    options = parser.parse_args()
    asyncio.run(_serve(options.base_url, options.calls, options.concurrency))


if __name__ == "__main__":
    main()
