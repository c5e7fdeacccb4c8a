"""Queries on the text around tokens: contexts and documents."""

from collections.abc import Sequence

import pandas as pd

from itda_core.common.errors import UserError
from itda_core.index.schema import CONTEXT_RADIUS
from itda_core.queries.single import SingleIndex

_NEAR = """
    -- the tokens that are wanted first: tokens, of which there are millions, is joined once
    wanted AS (
        SELECT centre, (centre + step)::INTEGER AS token
        FROM (SELECT DISTINCT unnest($1::INTEGER[]) AS centre)
            CROSS JOIN range(-$2::INTEGER, $2::INTEGER + 1) AS near(step)
    ),
    found AS (
        SELECT *, max(document) FILTER (token = centre) OVER (PARTITION BY centre) AS own
        FROM wanted JOIN tokens USING (token)
    )
    """


class PassageQueries(SingleIndex):
    """Queries on the texts that the model read, with an atom's coefficients."""

    def contexts(self, tokens: Sequence[int], atom: int, radius: int = CONTEXT_RADIUS) -> pd.DataFrame:
        """Return the passages around some tokens, with the atom's coefficients.

        One row per token of a passage. Columns: centre (the requested token), token, text, coefficient (missing if the
        atom does not fire), is_centre, document, name, position. A requested token outside the index has no rows.
        """
        return self._frame(
            f"""
            WITH {_NEAR}, fired AS (SELECT token, coefficient FROM activations WHERE atom = $3)
            SELECT centre, token, f.text, coefficient, token = centre AS is_centre, document, name, position
            FROM found f JOIN documents USING (document) LEFT JOIN fired USING (token)
            WHERE document = own ORDER BY centre, token
            """,
            [list(tokens), radius, atom],
            ("coefficient",),
        )

    def passages(self, tokens: Sequence[int], atom: int, radius: int = CONTEXT_RADIUS) -> dict[int, pd.DataFrame]:
        """Return the `contexts` of tokens that the index itself refers to, by token.

        Raises DamagedError if one is missing.
        """
        found = {int(str(centre)): rows for centre, rows in self.contexts(tokens, atom, radius).groupby("centre")}
        if missing := set(tokens) - found.keys():
            raise self._spoilt(f"no token {min(missing)}, which it names")
        return found

    def surroundings(self, tokens: Sequence[int], radius: int = CONTEXT_RADIUS) -> pd.DataFrame:
        """Return the texts around some tokens, one row per token, in order of tokens.

        Columns: token, before, label, after. A token outside the index has no row.
        """
        return self._frame(
            f"""
            WITH {_NEAR}
            SELECT centre AS token,
                coalesce(string_agg(text, '' ORDER BY token) FILTER (token < centre), '') AS before,
                string_agg(text, '') FILTER (token = centre) AS label,
                coalesce(string_agg(text, '' ORDER BY token) FILTER (token > centre), '') AS after
            FROM found WHERE document = own GROUP BY centre ORDER BY centre
            """,
            [list(tokens), radius],
        )

    def document(self, document: int, atom: int) -> pd.DataFrame:
        """Return a complete document as it was read, and its unread rest.

        The columns are those of `contexts` except centre and is_centre. Text beyond the tokens that were read is one
        last row without a token. Raises UserError for a document that is not in the index.
        """
        rows = self._frame("SELECT name, text FROM documents WHERE document = ?", [document])
        if rows.empty:
            raise UserError(f"there is no document {document} in this index")
        name, text = str(rows.at[0, "name"]), str(rows.at[0, "text"])
        tokens = self._frame(
            """
            WITH fired AS (SELECT token, coefficient FROM activations WHERE atom = $2)
            SELECT token, t.text, coefficient, position, stop
            FROM tokens t LEFT JOIN fired USING (token) WHERE document = $1 ORDER BY token
            """,
            [document, atom],
            ("coefficient",),
        )
        rest = text[max(tokens["stop"].tolist(), default=0) :]
        tokens = tokens.drop(columns="stop").assign(document=document, name=name)
        if not rest:
            return tokens
        tail = pd.DataFrame([{"text": rest, "document": document, "name": name}])
        return pd.concat([tokens, tail.astype({"text": tokens["text"].dtype})], ignore_index=True)
