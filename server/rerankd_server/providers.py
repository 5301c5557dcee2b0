"""The providers that the settings describe, their models, and what these cost."""

from collections.abc import Iterator

from rerankd_server.background import Background
from rerankd_server.condition import Condition
from rerankd_server.config import OWN_PROVIDER, ProviderSettings, Settings, recipe
from rerankd_server.scoring.dispatcher import Allowance
from rerankd_server.scoring.http_client import OPENAI, Endpoint
from rerankd_server.scoring.prices import Price, listed_price
from rerankd_server.scoring.provider import Provider
from rerankd_server.scoring.remote_model import RemoteModel
from rerankd_server.scoring.retrying import THE_PROVIDER

MILLION = 1_000_000


class Providers:
    """Those of `settings`, made when they are needed; each is one for all who ask it.

    `condition` tells whether all of their models are asked, or some given up on for now.
    """

    def __init__(self, settings: Settings, background: Background | None = None) -> None:
        self.condition = Condition("provider")
        self._settings = settings
        self._background = background or Background()
        self._made: dict[str, Provider] = {}

    def __iter__(self) -> Iterator[Provider]:
        """Iterate over those that were needed so far."""
        return iter(self._made.values())

    def model(self, made: recipe.Asking) -> RemoteModel:
        """Return the model that a recipe asks."""
        settings = self._settings.all_providers[made.provider]
        return RemoteModel(
            self._provider(made.provider, settings),
            settings.provider_name or _address(settings),
            made.model,
            workers=settings.concurrency,
            extra=made.parameters,
        )

    def price(self, made: recipe.Asking) -> Price | None:
        """Return what that model costs; None where that is not known."""
        settings = self._settings.all_providers[made.provider]
        if own := settings.prices.get(made.model):
            return Price(own.prompt / MILLION, own.completion / MILLION)
        return listed_price(_address(settings), made.model)

    async def close(self) -> None:
        """Close the connections."""
        for provider in self:
            await provider.close()

    def _provider(self, name: str, settings: ProviderSettings) -> Provider:
        if name not in self._made:
            allowance = Allowance(
                concurrency=settings.concurrency,
                requests_per_minute=settings.requests_per_minute,
                tokens_per_minute=settings.tokens_per_minute,
                longest_wait=settings.longest_wait,
            )
            self._made[name] = Provider(
                endpoint_of(name, settings),
                allowance,
                condition=self.condition,
                background=self._background,
            )
        return self._made[name]


def endpoint_of(name: str, settings: ProviderSettings) -> Endpoint:
    """Return where the provider called `name` is, and how it is asked."""
    return Endpoint(
        base_url=settings.base_url,
        api_key=settings.api_key.get_secret_value() if settings.api_key else None,
        key_file=None if settings.api_key_env else settings.api_key_file,
        key_header=settings.key_header,
        ca_file=settings.ca_file,
        timeout=settings.timeout,
        attempts=settings.attempts,
        max_reply_bytes=settings.max_reply_bytes,
        who=THE_PROVIDER if name == OWN_PROVIDER else f"provider {name!r}",
        key_from=settings.key_from,
        headers={n: value.get_secret_value() for n, value in settings.headers.items()},
    )


def _address(settings: ProviderSettings) -> str:
    return (settings.base_url or OPENAI).rstrip("/")
