"""Options, which come of the fields of settings and their docstrings."""

import argparse
from dataclasses import MISSING, dataclass, fields

import pytest

from app.state.pages import BuildState
from itda_core.cli.command_line import parse
from itda_core.common.errors import UserError
from itda_core.common.options import add_options, option, options_of, settings_from
from itda_core.common.settings import (
    BuildSettings,
    CorpusSettings,
    DictionarySettings,
    LayersSettings,
    MeasureSettings,
    ModelSettings,
    ProbingSettings,
    SaeSettings,
    WindowSettings,
)

BUILD = (ModelSettings, CorpusSettings, WindowSettings, BuildSettings, DictionarySettings)
OTHERS = (LayersSettings, MeasureSettings, ProbingSettings, SaeSettings)


@pytest.mark.parametrize("settings", BUILD + OTHERS)
def test_every_option_has_help_and_a_default_that_the_settings_take(settings: type) -> None:
    required = {"corpus": "docs", "layers": "3"}
    for each in options_of(settings):
        assert len(each.help) > 10 and "`" not in each.help and "\n" not in each.help
    made = settings_from(settings, required)
    for each in fields(settings):
        if each.default is not MISSING:
            assert getattr(made, each.name) == each.default


def test_the_form_has_every_option_of_a_build_and_no_other() -> None:
    names = {each.name for settings in BUILD for each in options_of(settings)}
    assert {each.name for each in fields(BuildState)} == names | {"model", "job"}
    assert names <= vars(parse(["build", "docs-a", "--layers=1"])).keys()


def test_what_a_command_line_says_becomes_settings() -> None:
    args = parse(
        ["build", "m", "--layers=0,2-3", "--hook=mlp,attn", "--no-holdout", "--batch=4", "--config=c", "--error=cosine"]
    )
    made = settings_from(BuildSettings, args)
    assert (made.layers, made.hooks, made.holdout, made.batch_windows) == ((0, 2, 3), ("mlp", "attn"), False, 4)
    assert settings_from(CorpusSettings, args) == CorpusSettings("docs", name="c")
    assert settings_from(DictionarySettings, args) == DictionarySettings(error="cosine")
    assert settings_from(WindowSettings, args) == WindowSettings()


def test_empty_text_is_none_only_where_there_may_be_none() -> None:
    assert settings_from(CorpusSettings, {"corpus": "a", "config": "", "documents": None}) == CorpusSettings("a")
    with pytest.raises(UserError, match="name a corpus"):
        settings_from(CorpusSettings, {"corpus": ""})
    with pytest.raises(UserError, match="layers are ''"):
        settings_from(BuildSettings, {"layers": ""})


def test_options_that_are_not_used_can_be_told_from_their_defaults() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, SaeSettings, are_optional=True)
    assert vars(parser.parse_args(["--lr=0.1"])) == {
        "kind": None, "tokens": None, "batch": None, "lr": 0.1, "seed": None,
    }  # fmt: skip


@dataclass(frozen=True)
class Undocumented:
    x: int = 1


@dataclass(frozen=True)
class Unparsed:
    x: tuple[int, ...] = ()
    """Numbers."""


@dataclass(frozen=True)
class Hidden:
    x: tuple[int, ...] = option((1,), hidden=True)
    """Numbers."""


def test_a_setting_without_help_or_parser_is_a_mistake() -> None:
    with pytest.raises(TypeError, match=r"Undocumented\.x has no docstring"):
        options_of(Undocumented)
    with pytest.raises(TypeError, match="needs a function that parses it"):
        options_of(Unparsed)
    assert options_of(Hidden) == ()
