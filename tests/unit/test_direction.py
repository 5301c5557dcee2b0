"""Data walks one way: the contracts in pyproject.toml hold."""

from pathlib import Path

from importlinter import cli


def test_nothing_imports_against_the_direction() -> None:
    contracts = Path(__file__).parents[2] / "pyproject.toml"
    assert (
        cli.lint_imports(config_filename=str(contracts), no_cache=True) == cli.EXIT_STATUS_SUCCESS
    )
