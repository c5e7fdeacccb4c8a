"""Build form: its command line, its problems, and the build that it requests."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import cache, partial
from pathlib import Path
from typing import Any

from app.state.pages import BuildState
from itda_core.build.estimate import BuildRequest
from itda_core.cli.command_line import parse
from itda_core.common.errors import UserError
from itda_core.common.options import options_of, settings_from
from itda_core.common.settings import (
    NDIF_KEY_VARIABLE,
    BuildSettings,
    CorpusSettings,
    DictionarySettings,
    WindowSettings,
    parse_layers,
)
from itda_core.corpus.readers import check_corpus
from itda_core.corpus.windows import HOLDOUT
from itda_core.models.bundled import demo_models, model_folder
from itda_core.models.metadata import ModelShape, local_name, model_shape

_DEVICE = re.compile(r"cpu|mps|auto|cuda(:[0-9]{1,3})?")
_NO_OPTION = {"model", "job"}


@dataclass(frozen=True)
class Checked:
    """Result of checking each field of a form."""

    problems: dict[str, str] = field(default_factory=dict)
    """Problems by the name of the field; each is one line with a remedy."""
    request: BuildRequest | None = None
    """The requested build, where there is no problem."""
    shape: ModelShape | None = None
    """The known properties of the model, where it is one."""


def model_path(model: str) -> str:
    """Return a model as the command line takes it.

    This is the folder of a demo model for its name, and anything else unchanged.
    """
    if model in demo_models() and not Path(model).is_dir():
        return str(model_folder(model))
    return f"./{model}" if model.startswith("-") else model  # or it would be taken for an option


def arguments(form: BuildState) -> list[str]:
    """Return the form as arguments of `itda`, without those at their defaults."""
    usual = _usual()
    found = ["build", model_path(form.model)]
    for each in fields(form):
        value = getattr(form, each.name)
        if each.name in _NO_OPTION or (value or None) == (usual[each.name] or None):
            continue
        if each.name == "threshold" and form.atoms is not None:  # it is looked for
            continue
        option = "--" + each.name.replace("_", "-")
        if isinstance(value, bool):
            found.append(option)
        else:
            # With =, since a value may begin with a dash.
            found.append(f"{option}={each.metadata['show'](value)}")
    return found


def form_of(command: Sequence[str]) -> BuildState | None:
    """Return the form that a command line fills.

    None where it is not a build, cannot be parsed, or builds several dictionaries of a site.
    """
    if not command or command[0] != "build":
        return None
    try:
        read = vars(parse(command))
    except (UserError, SystemExit):  # SystemExit: the command line requests help
        return None
    if isinstance(read["threshold"], tuple) or isinstance(read["atoms"], tuple):
        return None
    read |= {"layers": _ranges(read["layers"]), "hook": ",".join(read["hook"]), "model": _demo_name(read["model"])}
    # Empty text in the form is None on the command line.
    known = {each.name for each in fields(BuildState)}
    return BuildState(**{name: value for name, value in read.items() if name in known and value is not None})


def check(form: BuildState) -> Checked:
    """Check every field by itself, then those that must agree."""
    problems: dict[str, str] = {}

    def attempt(name: str, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except UserError as error:
            problems.setdefault(name, str(error))
            return None

    for each in fields(form):
        value = getattr(form, each.name)
        if isinstance(value, str) and not value.isprintable():
            problems[each.name] = "it has characters that cannot be seen: type it again"
    shape = attempt("model", lambda: model_shape(model_path(form.model), form.revision or None))
    layers = attempt("layers", lambda: parse_layers(form.layers))
    if shape is not None and layers and shape.n_layers is not None and layers[-1] >= shape.n_layers:
        problems["layers"] = f"the model has layers 0 to {shape.n_layers - 1}: there is no layer {layers[-1]}"
    values = {each.name: getattr(form, each.name) for each in fields(form)}
    required = {"corpus": "docs", "layers": "0"}
    for settings in (CorpusSettings, WindowSettings, BuildSettings, DictionarySettings):
        for each in options_of(settings):
            own = required | {each.name: values[each.name]}
            attempt(each.name, partial(settings_from, settings, own))
    attempt("corpus", lambda: check_corpus(CorpusSettings(form.corpus)))
    attempt(
        "max_atoms", lambda: settings_from(DictionarySettings, {"max_atoms": form.max_atoms, "recipe": form.recipe})
    )
    if form.atoms is not None:
        for name in ("recipe", "max_atoms"):
            together = {"atoms": form.atoms, name: getattr(form, name)}
            attempt("atoms", partial(settings_from, DictionarySettings, together))
        if form.atoms > form.tokens:
            problems["atoms"] = "each atom is a token: choose at most the number of tokens"
        if form.scan != "sequential":
            problems["scan"] = "a number of atoms requires the sequential scan"
    attempt("init", lambda: _check_scan(form))
    if form.documents is not None and 0 < form.documents < HOLDOUT and not form.no_holdout:
        problems["documents"] = f"so few have no tenth to hold out: {HOLDOUT} at least, or build from every document"
    attempt("device", lambda: _check_device(form.device))
    attempt("remote", lambda: _check_remote(form, shape))
    if shape is not None and shape.max_tokens is not None and form.context > shape.max_tokens:
        problems["context"] = f"the model reads {shape.max_tokens} tokens at most: lower it"
    if problems or shape is None:
        return Checked(problems, None, shape)
    request = BuildRequest(
        local_name(model_path(form.model)) if shape.is_local else form.model,
        shape,
        form.dtype,
        settings_from(CorpusSettings, values),
        settings_from(WindowSettings, values),
        settings_from(BuildSettings, values),
        settings_from(DictionarySettings, values),
        form.remote,
    )
    return Checked({}, request, shape)


def _check_device(device: str) -> None:
    if device and not _DEVICE.fullmatch(device):
        raise UserError("there is no such device: choose cpu, cuda, cuda:0, mps or auto")


def _check_remote(form: BuildState, shape: ModelShape | None) -> None:
    if not form.remote:
        return
    if shape is not None and shape.is_local:
        raise UserError("NDIF runs models by their Hub id, and this one is a folder or a file: name another model")
    if not os.environ.get(NDIF_KEY_VARIABLE):
        raise UserError(f"start the app with your NDIF key in {NDIF_KEY_VARIABLE}")
    if form.device or form.dtype != "float32":
        raise UserError("NDIF chooses the device and the data type: leave both at their defaults")


def _check_scan(form: BuildState) -> None:
    try:
        settings_from(DictionarySettings, {"scan": form.scan, "init": form.init}).check_scan()
    except ValueError as error:
        raise UserError("frequent initial atoms require the scan in batches") from error


@cache
def _usual() -> dict[str, Any]:
    """Return the command line's default for each option.

    Layers have no default, since they are required.
    """
    values = vars(parse(["build", "model", "--layers=0"]))
    return values | {"layers": None, "hook": ",".join(values["hook"])}


def _ranges(numbers: Sequence[int]) -> str:
    """Format layer numbers as ranges: (2, 4, 5, 6) gives `2,4-6`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _demo_name(model: str) -> str:
    """Return a demo model's name for its folder, and anything else unchanged."""
    name = os.path.basename(model)  # noqa: PTH119 (a Hub id is no path)
    return name if name in demo_models() and model_path(name) == model else model
