"""What measured: figures mean little without it."""

import os
import platform
import sqlite3
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine, and what runs on it."""

    processor: str
    cores: int
    kernel: str
    software: str
    date: str


def this_machine() -> Machine:
    packages = ("grpcio", "protobuf", "diskcache", "uvloop")
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 0,
        kernel=f"{platform.system()} {platform.release()}",
        software=", ".join(
            [
                f"Python {platform.python_version()}",
                *(f"{name} {version(name)}" for name in packages),
                f"SQLite {sqlite3.sqlite_version}",
            ]
        ),
        date=time.strftime("%Y-%m-%d"),
    )


def _processor() -> str:
    """Give the processor's name where Linux tells it, or else its kind."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
