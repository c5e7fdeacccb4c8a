"""The address and the state of a page."""

import pytest

from app.state.codec import MOST_CORNERS, MOST_IN_ADDRESS, decode, encode, fits_address
from app.state.pages import (
    AtomsState,
    AtomState,
    BuildState,
    CompareState,
    DecomposeState,
    LibraryState,
    QualityState,
    SimilarityState,
)
from itda_core.common.errors import UserError

STATES = [
    LibraryState(),
    LibraryState("mlp", "tokens"),
    LibraryState(click="compare", first="x"),
    AtomsState(),
    AtomsState("a-l3-resid-0123456789", "x & y=z #é", "context", "rarest", 7, colour="error", picked=0),
    AtomsState("d", density=(0.0, 0.25), strongest=(-1.5, 3e6), error=(0.1, 0.1)),
    AtomsState("d", first=1),
    AtomsState("d", region=((0.0, 0.5), (-1.25, 2.0), (3.0, 4.125))),
    AtomState(),
    AtomState("d", 0),
    AtomState("d", 123456),
    AtomState("d", 1, AtomsState(text='a & "b c" = %20 + é', scope="context", sort="best", density=(0.0, 0.25))),
    AtomState("d", 1, AtomsState(region=((0.0, 0.5), (-1.25, 2.0), (3.0, 4.125)), first=3, colour="error")),
    DecomposeState(),
    DecomposeState("d", "  two lines,\n\tand 迭 <b> & ? # %20 +  ", token=0),
    DecomposeState("d", kept="0" * 32, token=7),
    CompareState(),
    CompareState("x", "y", "b", "a & b", "gained", 3, "surprising", 0, 12),
    CompareState("x", "y", atom_a=3, beside="a"),
    CompareState("x", "y", passage=" a text,\n of two lines ", segment=0),
    SimilarityState(),
    SimilarityState("x", "y", "mutual_knn", 0, 11),
    QualityState(),
    QualityState("x", "sae-y", "dead", "own", "sae-y", "standard"),
    BuildState(),
    BuildState("", "main", "", "", "", 0, 0.0, "cosine", documents=0, keep_first=True, max_atoms=7, job="x"),
    BuildState("~/a b/é", layers="2,4-6", hook="mlp,attn", threshold=1e-9, tokens=10**9, no_holdout=True),
]


@pytest.mark.parametrize("state", STATES, ids=str)
def test_a_state_survives_the_address(state) -> None:
    params = encode(state)
    assert decode(type(state), params) == state
    assert all(isinstance(name, str) and isinstance(value, str) for name, value in params.items())


def test_the_usual_is_left_out() -> None:
    assert encode(AtomsState("d")) == {"d": "d"}
    assert encode(AtomState("d", 5)) == {"d": "d", "a": "5"}
    assert encode(AtomState("d", 5, AtomsState("d", page=7, picked=3).listed)) == {"d": "d", "a": "5"}
    assert encode(LibraryState()) == {}


def test_parameters_of_other_pages_are_passed_over() -> None:
    assert decode(AtomState, {"d": "x", "a": "3", "sort": "nonsense", "utm": "1"}) == AtomState("x", 3)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (AtomState, "a", "-1"),
        (AtomState, "a", "1.5"),
        (AtomState, "a", "٣"),
        (AtomState, "a", "1 OR 1=1"),
        (AtomState, "a", "9" * 30),
        (AtomState, "d", "x" * 1000),
        (AtomState, "list", "sort=sideways"),
        (AtomState, "list", "text=" + "x" * 201),
        (AtomState, "list", "text=x&" * 1000),
        (AtomsState, "page", "0"),
        (AtomsState, "first", "0"),
        (AtomsState, "first", "-3"),
        (QualityState, "by", "beauty"),
        (QualityState, "lines", "none"),
        (QualityState, "kind", "dense"),
        (AtomsState, "sort", "atom; DROP TABLE atoms"),
        (AtomsState, "scope", "<script>"),
        (AtomsState, "text", "x" * 201),
        (AtomsState, "density", "nan~1"),
        (AtomsState, "density", "0~inf"),
        (AtomsState, "density", "1e999~1e999"),
        (AtomsState, "density", "2~1"),
        (AtomsState, "density", "1"),
        (AtomsState, "region", "0,0~1,1"),
        (AtomsState, "region", "0,0~1,1~2,nan"),
        (AtomsState, "region", "~".join(["0,0"] * (MOST_CORNERS + 1))),
        (BuildState, "tokens", "-1"),
        (BuildState, "threshold", "nan"),
        (BuildState, "threshold", "1e5e"),
        (BuildState, "threshold", "1e999"),
        (BuildState, "error", "absolute"),
        (BuildState, "dtype", "int8"),
        (BuildState, "keep_first", "yes"),
        (BuildState, "corpus", "x" * 1001),
        (DecomposeState, "t", "-1"),
        (DecomposeState, "text", "x" * (MOST_IN_ADDRESS + 1)),
        (DecomposeState, "kept", "x" * 201),
        (LibraryState, "hook", "head"),
        (LibraryState, "measure", "beauty"),
    ],
)
def test_bad_input_is_refused_in_one_line(kind, name: str, value: str) -> None:
    with pytest.raises(UserError, match=name) as caught:
        decode(kind, {name: value})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_passage_fits_an_address_by_what_it_takes_there() -> None:
    assert fits_address("x" * MOST_IN_ADDRESS)
    assert not fits_address("x" * (MOST_IN_ADDRESS + 1))
    assert fits_address("迭" * (MOST_IN_ADDRESS // 9))  # %E8%BF%AD
    assert not fits_address("迭" * (MOST_IN_ADDRESS // 9 + 1))


def test_the_order_of_a_list_is_the_chosen_one_or_the_usual() -> None:
    assert AtomsState().order == AtomsState(sort="best").order == "varied"
    assert AtomsState(text="x").order == AtomsState(text="x", sort="best").order == "best"
    assert AtomsState(text="x", sort="admission").order == AtomsState(sort="admission").order == "admission"
    assert AtomsState(text="x", sort="varied").order == "varied"
