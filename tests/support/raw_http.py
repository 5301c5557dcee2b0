"""HTTP by hand, for servers that break its rules."""

import asyncio
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Asked:
    """One request."""

    head: str
    body: Any

    def header(self, name: str) -> str:
        match = re.search(rf"^{name}:\s*(.*?)\r$", self.head, re.IGNORECASE | re.MULTILINE)
        return match[1] if match else ""


async def read_call(reader: asyncio.StreamReader) -> Asked | None:
    """The next request on a connection; None at its end."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        size = re.search(r"^content-length:\s*([0-9]+)", head, re.IGNORECASE | re.MULTILINE)
        return Asked(head, json.loads(await reader.readexactly(int(size[1]) if size else 0)))
    except (asyncio.IncompleteReadError, OSError):
        return None


def head_of(headers: Mapping[str, str], status: int = 200) -> bytes:
    """A reply without its body."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} It\r\n{lines}\r\n".encode()


def reply_of(value: Any, headers: Mapping[str, str] | None = None, status: int = 200) -> bytes:
    """A whole reply, of JSON."""
    body = json.dumps(value).encode()
    return head_of({"Content-Length": str(len(body)), **(headers or {})}, status) + body


class Endless:
    """Answers each call with `begin`, then `part` again and again, at most `most` bytes.

    `sent` counts what the other side and the network took, `connections` those that were made, and
    `cut` tells that the other side broke off.
    """

    def __init__(self, begin: bytes, part: bytes, most: int = 1 << 30) -> None:
        self._begin = begin
        self._part = part
        self._most = most
        self.sent = 0
        self.connections = 0
        self.cut = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while await read_call(reader):
            with suppress(OSError):
                writer.write(self._begin)
                while self.sent < self._most:
                    writer.write(self._part)
                    await writer.drain()
                    self.sent += len(self._part)
        self.cut.set()
