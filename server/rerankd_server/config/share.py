"""A worker's share of the settings, which are for the whole server."""

from typing import Any

from rerankd_server.config.provider import ProviderSettings
from rerankd_server.config.settings import Settings

_OF_A_PROVIDER = ("concurrency", "requests_per_minute", "tokens_per_minute", "max_queue")


def share_of(settings: Settings, number: int) -> Settings:
    """Give the settings of worker `number`, from 0, of all that `settings` ask for."""
    workers = settings.workers
    providers = {
        name: provider.model_copy(update=_limits(provider, number, workers))
        for name, provider in settings.providers.items()
    }
    own = {
        **_limits(settings, number, workers),
        "memory_size": settings.memory_size // workers,
        "recent_size": settings.recent_size // workers,
        "max_bytes_in_flight": settings.max_bytes_in_flight // workers,
        "max_calls": _share(settings.max_calls, number, workers),
        "providers": providers,
    }
    return settings.model_copy(update=own)


def _limits(provider: ProviderSettings, number: int, workers: int) -> dict[str, Any]:
    values = ((name, getattr(provider, name)) for name in _OF_A_PROVIDER)
    return {name: _share(value, number, workers) for name, value in values if value is not None}


def _share(value: int, number: int, workers: int) -> int:
    """Give a part of `value`, at least 1; together the parts are `value` where that can be."""
    return max(1, value // workers + (number < value % workers))
