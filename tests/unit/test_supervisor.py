"""What `--workers` comes to for each process, and for the one that starts them."""

import subprocess
import sys

from rerankd_server.commands.supervisor import pause
from rerankd_server.config import Settings, share_of


def test_what_is_for_the_whole_server_is_divided() -> None:
    limits = {"concurrency": 10, "requests_per_minute": 8, "tokens_per_minute": 100, "max_queue": 7}
    settings = Settings.model_validate(
        {
            **limits,
            "workers": 3,
            "memory_size": 3 << 20,
            "recent_size": 6 << 20,
            "max_bytes_in_flight": 9 << 20,
            "max_calls": 8,
            "base_url": "http://a/v1",
            "providers": {"b": {"base_url": "http://b/v1", **limits}},
        }
    )
    shares = [share_of(settings, number) for number in range(3)]
    for providers in (shares, [share.providers["b"] for share in shares]):
        for name, value in limits.items():
            parts = [getattr(provider, name) for provider in providers]
            assert sum(parts) == value
            assert max(parts) - min(parts) <= 1
    sizes = {(s.memory_size, s.recent_size, s.max_bytes_in_flight) for s in shares}
    assert sizes == {(1 << 20, 2 << 20, 3 << 20)}
    assert [share.max_calls for share in shares] == [3, 3, 2]
    memory = {"memory_size", "recent_size", "max_bytes_in_flight"}
    divided = {*limits, *memory, "max_calls", "providers"}
    assert shares[0].model_dump(exclude=divided) == settings.model_dump(exclude=divided)


def test_each_process_may_do_something_and_what_has_no_limit_has_none() -> None:
    share = share_of(Settings.model_validate({"workers": 4, "concurrency": 1}), 3)
    assert share.concurrency == 1
    assert share.requests_per_minute is None


def test_who_dies_again_and_again_is_replaced_less_and_less_often() -> None:
    assert [pause(deaths) for deaths in (1, 2, 3, 4)] == [0, 0.5, 1, 2]
    assert pause(9) == pause(10_000) == 30


def test_who_starts_the_processes_loads_no_server() -> None:
    code = (
        "import sys, rerankd_server.cli, rerankd_server.commands.serve\n"
        "import rerankd_server.commands.supervisor\n"
        "assert not {'grpc', 'openai', 'numpy'} & sys.modules.keys()"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
