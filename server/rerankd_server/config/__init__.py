"""The settings: what can be set, where it comes from, and what is wrong with it."""

from rerankd_server.config.loading import TABLES, load_settings
from rerankd_server.config.provider import PriceSettings, ProviderSettings
from rerankd_server.config.recipe import LEXICAL, OWN_PROVIDER, PRIOR, Recipe
from rerankd_server.config.settings import DRAIN, FIXED, Settings
from rerankd_server.config.share import share_of

__all__ = [
    "DRAIN",
    "FIXED",
    "LEXICAL",
    "OWN_PROVIDER",
    "PRIOR",
    "TABLES",
    "PriceSettings",
    "ProviderSettings",
    "Recipe",
    "Settings",
    "load_settings",
    "share_of",
]
