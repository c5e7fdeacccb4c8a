"""Search over the passages of atoms, as SQL."""

import re

from itda_core.queries.statement import Values

_MOST_WORDS = 16
INSIDE = 0.4
"""Weight of a match inside a word, against 1 for a whole word: tokens are pieces of words, and code has identifiers."""
NEAR = 20
"""Distance from the source token, in characters, at which a match counts half."""
_EDGE = r"[^\pL\pM\pN_]"
_SOURCE = "lower(before || label || after)"
_SEARCHED = {"source": _SOURCE, "token": "lower(label)", "context": "lower(context)"}


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a query, each once; a phrase in double quotes is one word, and may contain spaces.

    Of more than 16 words, which take seconds, the rest is one phrase.
    """
    words = [phrase or word for phrase, word in re.findall(r'"([^"]*)"|(\S+)', text)]
    words = list({word.lower(): word for word in words if word}.values())
    rest = " ".join(words[_MOST_WORDS - 1 :])
    return tuple([*words[: _MOST_WORDS - 1], rest] if rest else words)


def found_by(words: tuple[str, ...], scope: str, values: Values) -> str:
    """Return the SQL of the atoms with a passage that contains all words, regardless of case.

    Columns: atom, score (the better the match, the higher), example (the token of the example that matches best, −1
    for other scopes). A word counts by its rarity among the source passages, as in BM25, and by INSIDE. Instead of the
    number of occurrences, which says little in 33 tokens, its place counts: its distance from the source token, or the
    rest of that token, or the rank of the example. The scores of an atom's examples add up, each divided as in DCG by
    the logarithm of its rank: an atom comes first if many of its strongest contexts match.
    """
    text = _SEARCHED[scope]
    sought = [f"lower({values.put(word)})" for word in words]
    rarities = [
        f"ln(1 + (count(*) - {n} + 0.5) / ({n} + 0.5)) AS r{at}" for at, n in enumerate(map(_number_with, sought))
    ]
    terms = [
        f"""
        r{at} * {_nearness(each, scope)}
            * CASE WHEN regexp_matches({text}, {_whole(word, each)}) THEN 1 ELSE {INSIDE} END
        """
        for at, (word, each) in enumerate(zip(words, sought, strict=True))
    ]
    score, holds = " + ".join(terms), " AND ".join(f"contains({text}, {each})" for each in sought)
    rarity = f"(SELECT {', '.join(rarities)} FROM atoms)"
    if scope != "context":
        return f"SELECT atom, {score} AS score, -1 AS example FROM atoms, {rarity} WHERE {holds}"
    # Rounded, since the order in which threads add them up varies.
    return f"""
        SELECT atom, round(sum(score), 6) AS score, arg_max(token, score) AS example FROM (
            SELECT atom, token, ({score}) / log2(1 + rank) AS score FROM examples, {rarity} WHERE {holds}
        ) GROUP BY atom
        """


def _number_with(sought: str) -> str:
    return f"count(*) FILTER (contains({_SOURCE}, {sought}))"


def _whole(word: str, sought: str) -> str:
    """Return the SQL of a pattern that finds a word that no longer one contains."""
    first, last = (
        f"(?:{end}|{_EDGE})" if _is_in_word(letter) else "" for end, letter in (("^", word[0]), ("$", word[-1]))
    )
    return f"'{first}' || regexp_escape({sought}) || '{last}'"


def _is_in_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _nearness(sought: str, scope: str) -> str:
    if scope == "context":
        return "1"
    away = f"length(label) - length({sought})"
    if scope == "source":
        # One that is in none of the three parts crosses an edge of the source token.
        away = f"""
            CASE WHEN contains(lower(label), {sought}) THEN 0 ELSE coalesce(least(
                CASE WHEN contains(lower(before), {sought}) THEN length(string_split(lower(before), {sought})[-1]) END,
                CASE WHEN contains(lower(after), {sought}) THEN length(string_split(lower(after), {sought})[1]) END
            ), 0) END
            """
    return f"{NEAR} / ({NEAR} + {away})"
