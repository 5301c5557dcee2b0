"""Providers and recipes in the settings file, and what is said of mistakes in them."""

from pathlib import Path

import pytest

from rerankd_server.config import Settings, load_settings
from rerankd_server.config.recipe import Cascade, Pointwise, Recipe
from rerankd_server.errors import ConfigError

LOCAL = """
base_url = "http://127.0.0.1:1/v1"
"""
FAST = """
[recipes.fast]
kind = "pointwise"
model = "m"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def load(folder: Path, text: str, **environ: str) -> Settings:
    file = folder / "rerankd.toml"
    file.write_text(text, encoding="utf-8")
    return load_settings({}, environ, file)


def complaint(folder: Path, text: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as raised:
        load(folder, text, **environ)
    return str(raised.value).replace(str(folder / "rerankd.toml"), "FILE")


def test_a_part_may_be_a_recipe_a_built_in_or_an_allowed_model(folder: Path) -> None:
    settings = load(
        folder,
        LOCAL
        + 'allow_models = ["gpt-x"]\n'
        + FAST
        + """
        [recipes.mixed]
        kind = "mean"
        of = ["fast", "lexical", "prior", "gpt-x", "gpt-4o-mini"]
        """,
    )
    assert settings.default_model == "gpt-4o-mini"
    names = ["gpt-4o-mini", "fast", "mixed", "gpt-x", "lexical", "prior"]
    assert list(settings.catalogue) == names
    assert settings.catalogue["gpt-x"] == Pointwise(model="gpt-x")


def test_without_a_provider_of_its_own_the_first_recipe_is_the_default(folder: Path) -> None:
    settings = load(
        folder,
        """
        [providers.here]
        base_url = "http://127.0.0.1:1/v1"
        allow_models = ["other"]

        [recipes.first]
        kind = "pointwise"
        provider = "here"
        model = "m"

        [recipes.second]
        kind = "blend"
        scores = "first"
        """,
    )
    assert settings.default_model == "first"
    assert list(settings.catalogue) == ["first", "second", "other", "lexical", "prior"]
    allowed: Recipe = settings.catalogue["other"]
    assert isinstance(allowed, Pointwise)
    assert allowed.provider == "here"


def test_a_recipe_may_be_the_default(folder: Path) -> None:
    text = 'model = "cheap"\n' + LOCAL + FAST
    text += '[recipes.cheap]\nkind = "cascade"\ncheap = "lexical"\ncareful = "fast"\ntop_k = 9\n'
    settings = load(folder, text)
    assert next(iter(settings.catalogue)) == "cheap"
    assert isinstance(settings.catalogue["cheap"], Cascade)


def test_allowed_models_are_a_list_also_where_they_are_one_text() -> None:
    settings = load_settings({"allow_models": "a, b,"}, {"OPENAI_API_KEY": "k"})
    assert settings.allow_models == ("a", "b")


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("", "recipes.x (`recipes` in FILE): needs a `kind`, such as pointwise or cascade"),
        ('kind = "magic"', "recipes.x (`recipes` in FILE): Input tag 'magic'"),
        ('kind = "pointwise"', "recipes.x.model (`recipes` in FILE): Field required"),
        (
            'kind = "pointwise"\nmodel = "m"\nmodle = "m"',
            "recipes.x.modle (`recipes` in FILE): there is no such setting; docs/recipes.md",
        ),
        (
            'kind = "pointwise"\nmodel = "m"\nprovider = "there"',
            "recipes.x: there is no provider 'there'; there are default",
        ),
        ('kind = "batched"\nmodel = "m"\ndocuments = 51', "recipes.x.documents"),
        ('kind = "batched"\nmodel = "m"\nrepeats = 0', "recipes.x.repeats"),
        ('kind = "blend"\nscores = "fast"\nweight = 1.5', "recipes.x.weight"),
        (
            'kind = "pointwise"\nmodel = "m"\nparameters = { at = 2026-01-01 }',
            "recipes.x.parameters (`recipes` in FILE): holds what JSON does not: a date, nan or",
        ),
        (
            'kind = "pointwise"\nmodel = "m"\nparameters = { top_p = nan }',
            "recipes.x.parameters (`recipes` in FILE): holds what JSON does not: a date, nan or",
        ),
        (
            'kind = "batched"\nmodel = "m"\nparameters = { temperature = 1, model = "n" }',
            "recipes.x.parameters (`recipes` in FILE): rerankd sets model, temperature itself; ",
        ),
        ('kind = "mean"\nof = ["fast"]\nweights = [1e308]', "recipes.x.weights.0"),
        (
            'kind = "mean"\nof = ["fast", "slow"]',
            (
                "recipes.x: there is no recipe or allowed model 'slow'; there are gpt-4o-mini, x, "
                "fast, lexical, prior"
            ),
        ),
        ('kind = "mean"\nof = []', "recipes.x.of"),
        (
            'kind = "mean"\nof = ["fast"]\nweights = [1, 2]',
            "recipes.x (`recipes` in FILE): has 1 parts and 2 weights",
        ),
        ('kind = "mean"\nof = ["fast"]\nweights = [0]', "recipes.x.weights.0"),
        (
            'kind = "cascade"\ncheap = "lexical"\ncareful = "fast"',
            "recipes.x (`recipes` in FILE): needs either `threshold` or `top_k`",
        ),
        (
            'kind = "cascade"\ncheap = "lexical"\ncareful = "fast"\ntop_k = 1\nthreshold = 0.5',
            "recipes.x (`recipes` in FILE): needs either `threshold` or `top_k`",
        ),
        ('kind = "mean"\nof = ["x"]', "recipes.x: is made of itself: x -> x"),
        (
            (
                'kind = "mean"\nof = ["y"]\n[recipes.y]\nkind = "blend"\nscores = "z"\n'
                '[recipes.z]\nkind = "mean"\nof = ["fast", "y"]'
            ),
            "recipes.y: is made of itself: y -> z -> y",
        ),
    ],
)
def test_a_mistake_in_a_recipe_names_it(folder: Path, recipe: str, said: str) -> None:
    found = complaint(folder, f"{LOCAL}[recipes.x]\n{recipe}\n{FAST}").splitlines()
    assert len(found) == 1
    assert found[0].startswith(said)


def test_all_mistakes_are_told_at_once(folder: Path) -> None:
    found = complaint(
        folder,
        LOCAL + '[recipes.a]\nkind = "mean"\nof = ["b"]\n[recipes.c]\nkind = "mean"\nof = ["d"]',
    )
    assert [line.split(":")[0] for line in found.splitlines()] == ["recipes.a", "recipes.c"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[recipes.lexical]\nkind = "prior"',
            "recipes.lexical: that name is built in; choose another one",
        ),
        (
            '[providers.default]\nbase_url = "http://127.0.0.1:2/v1"',
            "providers.default: that name stands for the provider outside any table",
        ),
        ("[providers.there]\ntimeout = 3", "providers.there: needs a key (api_key_env or"),
        ('allow_models = ["fast"]\n' + FAST, "allow_models: 'fast' is allowed twice, or also a"),
        ('allow_models = ["prior"]', "allow_models: 'prior' is allowed twice, or also a"),
        (
            'allow_models = ["m"]\n[providers.b]\nbase_url = "http://b/v1"\nallow_models = ["m"]',
            "allow_models: 'm' is allowed twice",
        ),
        ('[providers.b]\nbase_url = "ftp://b"', "providers.b.base_url (`providers` in FILE): "),
        (
            '[providers.b]\nbase_url = "http://b/v1"\n[providers.b.headers]\n"a b" = "c"',
            "providers.b.headers (`providers` in FILE): 'a b' is not a header that can be sent",
        ),
        (
            '[providers.b]\nbase_url = "http://b/v1"\n[providers.b.headers]\na = "two\\nlines"',
            "providers.b.headers (`providers` in FILE): 'a' is not a header that can be sent",
        ),
        ("[prices.m]\nprompt = -1", "prices.m.prompt (`prices` in FILE): "),
        ('allow_models = [""]', "allow_models (`allow_models` in FILE): holds an empty name"),
        (
            '[providers.b]\nbase_url = "http://b/v1"\nallow_models = ["gpt-4o-mini"]',
            "model: 'gpt-4o-mini' is the default of the provider outside any table, and allowed",
        ),
        ("providers = 3", "providers (`providers` in FILE): "),
    ],
)
def test_a_mistake_in_a_provider_names_it(folder: Path, text: str, said: str) -> None:
    assert complaint(folder, LOCAL + text).splitlines()[0].startswith(said)


def test_a_recipe_without_any_provider_says_what_to_do(folder: Path) -> None:
    assert complaint(folder, FAST).startswith("recipes.fast: names no provider, and there is none")


def test_a_key_is_read_from_a_variable_or_a_file(folder: Path) -> None:
    (folder / "key").write_text("sk-file\n")
    text = f"""
    [providers.a]
    api_key_env = "A_KEY"
    [providers.b]
    api_key_file = "{folder / "key"}"
    """
    settings = load(folder, text, A_KEY="sk-variable")
    keys = [each.api_key for each in settings.providers.values()]
    assert [key.get_secret_value() for key in keys if key] == ["sk-variable", "sk-file"]
    assert [each.key_from for each in settings.providers.values()] == ["A_KEY", str(folder / "key")]
    assert "sk-" not in repr(settings)


def test_a_place_that_is_named_for_the_key_is_where_it_is_read_from(folder: Path) -> None:
    """A gateway gets its own key, and not OpenAI's, which happens to be exported."""
    text = 'base_url = "http://gateway/v1"\napi_key_env = "GATEWAY_KEY"\n'
    settings = load(folder, text, GATEWAY_KEY="sk-gateway", OPENAI_API_KEY="sk-openai")
    assert settings.api_key is not None
    assert (settings.api_key.get_secret_value(), settings.key_from) == ("sk-gateway", "GATEWAY_KEY")
    said = complaint(folder, text, OPENAI_API_KEY="sk-openai")
    assert said.startswith("api_key_env: GATEWAY_KEY is not set")


def test_a_key_that_a_table_names_makes_no_other_provider(folder: Path) -> None:
    text = """
    [providers.openai]
    api_key_env = "OPENAI_API_KEY"
    allow_models = ["gpt-4o-mini"]
    [providers.anthropic]
    base_url = "https://api.anthropic.com/v1"
    allow_models = ["claude-haiku-4-5"]
    """
    for model in ("gpt-4o-mini", "claude-haiku-4-5"):
        settings = load(folder, f'model = "{model}"\n{text}', OPENAI_API_KEY="sk-openai")
        assert list(settings.all_providers) == ["openai", "anthropic"]
        assert settings.default_model == next(iter(settings.catalogue)) == model
    assert load(folder, text, OPENAI_API_KEY="sk-openai").default_model == "lexical"


def test_the_strongest_way_to_the_key_replaces_the_others(folder: Path) -> None:
    (folder / "key").write_text("sk-file")
    file = folder / "rerankd.toml"
    file.write_text('api_key_env = "NOT_SET"\n')
    by_flag = load_settings({"api_key_file": str(folder / "key")}, {}, file)
    by_variable = load_settings({}, {"RERANKD_API_KEY": "sk-variable"}, file)
    for settings, key in ((by_flag, "sk-file"), (by_variable, "sk-variable")):
        assert settings.api_key is not None
        assert settings.api_key.get_secret_value() == key


def test_a_key_that_cannot_be_one_is_told_by_its_place(folder: Path) -> None:
    said = complaint(folder, 'api_key_env = "ODD"\n', ODD="a b", OPENAI_API_KEY="sk-openai")
    assert said.startswith("api_key (`api_key_env` in FILE): holds characters that no key has")


def test_openais_variables_give_way_to_the_file(folder: Path) -> None:
    assert (
        load(folder, LOCAL, OPENAI_BASE_URL="http://elsewhere/v1").base_url == LOCAL.split('"')[1]
    )


def test_many_recipes_of_many_parts_are_checked_at_once(folder: Path) -> None:
    recipes = [f'[recipes.r{n}]\nkind = "mean"\nof = ["r{n + 1}", "r{n + 1}"]\n' for n in range(60)]
    last = '[recipes.r60]\nkind = "prior"\n'
    assert len(load(folder, LOCAL + "".join(recipes) + last).recipes) == 61


def test_the_servers_own_key_may_be_elsewhere_too(folder: Path) -> None:
    settings = load_settings({"api_key_env": "MY_KEY"}, {"MY_KEY": "sk-mine"})
    assert settings.api_key is not None
    assert (settings.api_key.get_secret_value(), settings.key_from) == ("sk-mine", "MY_KEY")


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ('api_key_file = "/dev/null"', "providers.a.api_key_file: /dev/null is empty; put the key"),
        (
            'api_key_file = "~nobody-here/key"',
            "providers.a.api_key_file: ~nobody-here/key cannot be read",
        ),
        (
            'api_key_env = "NO_KEY"',
            "providers.a.api_key_env: NO_KEY is not set; export it, with the key",
        ),
        ('api_key_file = "/no/such/file"', "providers.a.api_key_file: /no/such/file cannot be"),
    ],
)
def test_a_missing_key_is_named(folder: Path, place: str, said: str) -> None:
    assert complaint(folder, f"[providers.a]\n{place}\n").startswith(said)


def test_a_header_may_hold_a_key_and_is_never_shown(folder: Path) -> None:
    text = '[providers.b]\nbase_url = "http://b/v1"\n[providers.b.headers]\nx-key = "sk-sentinel"\n'
    assert "sk-sentinel" not in repr(load(folder, text))
    assert "sk-sentinel" not in complaint(folder, text.replace("sentinel", "sentinel\\n"))
