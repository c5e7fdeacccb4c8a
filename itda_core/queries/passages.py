"""Queries on text around tokens: contexts and documents."""

from collections.abc import Sequence

import pandas as pd

from itda_core.common.errors import UserError
from itda_core.index.schema import CONTEXT_RADIUS
from itda_core.queries.single import SingleIndex


class PassageQueries(SingleIndex):
    """Texts that the model of a dictionary read, with an atom's coefficients."""

    def contexts(self, tokens: Sequence[int], atom: int, radius: int = CONTEXT_RADIUS) -> pd.DataFrame:
        """The passages around some tokens, token by token, with the atom's coefficient on each.

        Columns: centre (the token asked for), token, text, coefficient (missing where the atom does not fire),
        is_centre, document, name, position. A token that the index does not hold has no rows.
        """
        return self._frame(
            """
            WITH
                -- the tokens that are wanted first: tokens, of which there are millions, is joined once
                wanted AS (
                    SELECT centre, (centre + step)::INTEGER AS token
                    FROM (SELECT DISTINCT unnest($1::INTEGER[]) AS centre)
                        CROSS JOIN range(-$3::INTEGER, $3::INTEGER + 1) AS near(step)
                ),
                found AS (
                    SELECT *, max(document) FILTER (token = centre) OVER (PARTITION BY centre) AS own
                    FROM wanted JOIN tokens USING (token)
                ),
                fired AS (SELECT token, coefficient FROM activations WHERE atom = $2)
            SELECT centre, token, f.text, coefficient, token = centre AS is_centre, document, name, position
            FROM found f JOIN documents USING (document) LEFT JOIN fired USING (token)
            WHERE document = own ORDER BY centre, token
            """,
            [list(tokens), atom, radius],
            ("coefficient",),
        )

    def passages(self, tokens: Sequence[int], atom: int, radius: int = CONTEXT_RADIUS) -> dict[int, pd.DataFrame]:
        """The `contexts` of tokens that the index itself names, by token. Raises DamagedError where one is missing."""
        found = {int(str(centre)): rows for centre, rows in self.contexts(tokens, atom, radius).groupby("centre")}
        if missing := set(tokens) - found.keys():
            raise self._spoilt(f"no token {min(missing)}, which it names")
        return found

    def document(self, document: int, atom: int) -> pd.DataFrame:
        """A whole document as read: the columns of `contexts` but centre and is_centre, and its unread rest.

        Text beyond the tokens that were read comes as one last row with no token. Raises UserError for a document that
        the index does not hold.
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
