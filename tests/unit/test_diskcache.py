"""What the store leans on of diskcache's, beyond what that promises."""

import inspect
import tomllib
from pathlib import Path

import diskcache

from rerankd_server.caching.database import PRIVATE, Database

COLUMNS = (
    "rowid key raw store_time expire_time access_time access_count tag size mode filename value"
)


def test_its_private_members_are_as_the_store_expects(tmp_path: Path) -> None:
    signatures = {
        name: str(inspect.signature(member)) if callable(member) else type(member).__name__
        for name in PRIVATE
        for member in [inspect.getattr_static(diskcache.Cache, name)]
    }
    assert signatures == {
        "_con": "property",
        "_sql": "property",
        "_transact": "(self, retry=False, filename=None)",
        "_cull": "(self, now, sql, cleanup, limit=None)",
    }
    database = Database(tmp_path, 64 << 20)
    columns = [row[1] for row in database._sql("PRAGMA table_info(Cache)")]
    assert columns == COLUMNS.split()
    assert diskcache.core.METADATA.keys() == {"count", "size", "hits", "misses"}
    settings = {row[0] for row in database._sql("SELECT key FROM Settings")}
    ours = {"sqlite_journal_size_limit"}
    assert settings - ours == diskcache.DEFAULT_SETTINGS.keys() | diskcache.core.METADATA.keys()
    database.close()


def test_only_the_version_that_was_looked_at_is_installed() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    (bound,) = (
        each for each in project["optional-dependencies"]["server"] if each.startswith("diskcache")
    )
    assert bound.endswith("<5.7")
    assert diskcache.__version__.startswith("5.6.")


def test_durability_is_this_connections_alone(tmp_path: Path) -> None:
    power = Database(tmp_path, 64 << 20, "power")
    process = Database(tmp_path, 64 << 20, "process")
    levels = [each._sql("PRAGMA synchronous").fetchone()[0] for each in (power, process)]
    assert levels == [2, 1]
    power.close()
    process.close()
