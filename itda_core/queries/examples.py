"""Queries on the activations of an atom: histogram, examples, tokens."""

import pandas as pd

from itda_core.index.schema import CONTEXT_RADIUS, HISTOGRAM_BINS
from itda_core.queries.single import SingleIndex, plain_value

INTERVALS = 5
INTERVAL_EXAMPLES = 5
_CANDIDATES = 200  # activations searched for examples with distinct passages


class ActivationQueries(SingleIndex):
    """Queries on the activations of a dictionary's atoms."""

    def histogram(self, atom: int) -> pd.DataFrame:
        """Return the histogram of the atom's coefficients in 50 bins.

        Columns: low, high, count. Empty if the atom never fires.
        """
        bins = self._frame(
            f"""
            WITH
                a AS (
                    SELECT minimum, (maximum - minimum) / {HISTOGRAM_BINS} AS width
                    FROM atoms WHERE atom = $1 AND count > 0
                ),
                filled AS (SELECT bin, count FROM histograms WHERE atom = $1),
                bins AS (SELECT unnest(range({HISTOGRAM_BINS}))::INTEGER AS bin)
            SELECT minimum + bin * width AS low, minimum + (bin + 1) * width AS high, coalesce(count, 0) AS count
            FROM bins CROSS JOIN a LEFT JOIN filled USING (bin) ORDER BY bin
            """,
            [atom],
        )
        counts = bins["count"].to_numpy()
        if len(counts) and not (counts.min() >= 0 and counts.max() > 0):
            raise self._spoilt("a histogram with counts that cannot be")
        return bins

    def top_examples(self, atom: int, limit: int = 20, without: int | None = None) -> pd.DataFrame:
        """Return the tokens with the largest coefficients, the largest first.

        See `_examples` for the columns and `without`.
        """
        return self._examples(atom, "coefficient DESC", limit, without)

    def lowest_examples(self, atom: int, limit: int = 5) -> pd.DataFrame:
        """Return the tokens with the smallest coefficients, the most negative first."""
        return self._examples(atom, "coefficient ASC", limit)

    def interval_examples(self, atom: int) -> pd.DataFrame:
        """Return examples from five equal intervals of the coefficient.

        The highest interval is first. Columns: interval (0 is the highest), low, high, share (of the tokens on which
        the atom fires), token, coefficient; within an interval the examples are spread evenly over its ranks. An empty
        interval has no rows.
        """
        return self._frame(
            f"""
            WITH
                a AS (
                    SELECT count AS fired, maximum, (maximum - minimum) / {INTERVALS} AS width
                    FROM atoms WHERE atom = $1
                ),
                placed AS (
                    SELECT token, coefficient, fired, maximum, width,
                        CASE WHEN width > 0 THEN least({INTERVALS - 1}, floor((maximum - coefficient) / width))
                        ELSE 0 END::INTEGER AS interval
                    FROM activations CROSS JOIN a WHERE atom = $1
                ),
                ranked AS (
                    SELECT *, count(*) OVER (PARTITION BY interval) AS n,
                        row_number() OVER (PARTITION BY interval ORDER BY coefficient DESC, token) AS rank
                    FROM placed
                ),
                spread AS (SELECT *, floor((rank - 1) * {INTERVAL_EXAMPLES} / n) AS part FROM ranked)
            SELECT interval, maximum - (interval + 1) * width AS low, maximum - interval * width AS high,
                n / fired AS share, token, coefficient
            FROM spread
            QUALIFY row_number() OVER (PARTITION BY interval, part ORDER BY rank) = 1
            ORDER BY interval, rank
            """,
            [atom],
        )

    def strongest(self, atom: int, without: int) -> float | None:
        """Return the atom's largest absolute coefficient on tokens other than `without`.

        `without` may be its source. None if it fires on no other token.
        """
        sql = "SELECT max(abs(coefficient)) AS strongest FROM activations WHERE atom = ? AND token <> ?"
        return plain_value(self._frame(sql, [atom, without], ("strongest",)).iat[0, 0])

    def activations(self, atom: int, limit: int = 100_000, without: int | None = None) -> pd.DataFrame:
        """Return the atom's activations for download, the largest coefficient first.

        Columns: document, name, position, text, coefficient. `without` is a token to leave out, such as its source.
        """
        return self._frame(
            """
            SELECT document, name, position, t.text, coefficient
            FROM activations JOIN tokens t USING (token) JOIN documents USING (document)
            WHERE atom = ? AND token IS DISTINCT FROM ? ORDER BY coefficient DESC, token LIMIT ?
            """,
            [atom, without, limit],
        )

    def token_shares(self, atom: int, limit: int = 10) -> pd.DataFrame:
        """Return the kinds of token on which the atom fires, the largest share first.

        Columns: text; count (number of tokens of this kind on which it fires); share (of all the tokens on which it
        fires); weight_share (share with each token weighted by its absolute coefficient, by which the rows are
        ordered); occurrences (captured tokens of this kind); fires_on (share of these on which it fires).
        """
        return self._frame(
            """
            WITH
                fired AS (
                    SELECT token_id, any_value(text) AS text, count(*) AS count, sum(abs(coefficient)) AS weight
                    FROM activations JOIN tokens USING (token) WHERE atom = $1 GROUP BY token_id
                ),
                kinds AS (
                    SELECT token_id, count(*) AS occurrences FROM tokens WHERE error IS NOT NULL GROUP BY token_id
                )
            SELECT text, count, count / (sum(count) OVER ()) AS share,
                weight / (sum(weight) OVER ()) AS weight_share, occurrences, count / occurrences AS fires_on
            FROM fired JOIN kinds USING (token_id) ORDER BY weight_share DESC, text LIMIT $2
            """,
            [atom, limit],
        )

    def label_prediction(self, atom: int) -> pd.DataFrame:
        """Return recall and precision of the source's tokens as predictions of where the atom fires.

        One row for each rule: `token` (a token equals the source token), `previous` (the token before it equals the one
        before the source), `both`. The source itself is left out. Columns:

        - rule; tokens (captured tokens that match); fires (matching tokens on which the atom fires); all_fires (all
          tokens on which it fires); all_strong (those on which it has half of its largest absolute coefficient or
          more); strong (matching tokens among these);
        - recall (share of the matching tokens on which it fires); chance (share of all tokens on which it fires);
        - precision (share of its firing tokens that match); weight_precision (the same with each token weighted by its
          absolute coefficient); strong_precision (the same for strong firing).

        A share of nothing is missing.
        """
        return self._frame(
            """
            WITH
                source AS (
                    SELECT s.token, s.document, s.token_id, p.token_id AS previous_id, strongest,
                        (s.error IS NOT NULL)::INTEGER AS counted
                    FROM (SELECT token, strongest FROM atoms WHERE atom = $1) JOIN tokens s USING (token)
                        LEFT JOIN tokens p ON p.token = s.token - 1 AND p.document = s.document
                ),
                -- tokens of a kind, and those after a kind, rather than a window over all tokens
                matches AS (
                    SELECT 0 AS place, t.token FROM tokens t JOIN source s ON t.token_id = s.token_id
                    WHERE t.error IS NOT NULL AND t.token <> s.token
                    UNION ALL
                    SELECT 1, t.token FROM tokens p JOIN source s ON p.token_id = s.previous_id
                        JOIN tokens t ON t.token = p.token + 1 AND t.document = p.document
                    WHERE t.error IS NOT NULL AND t.token <> s.token
                ),
                ruled AS (
                    FROM matches UNION ALL SELECT 2, token FROM matches GROUP BY token HAVING count(*) = 2
                ),
                fired AS (
                    SELECT f.token, abs(f.coefficient)::DOUBLE AS weight, weight >= strongest / 2 AS strong
                    FROM activations f CROSS JOIN source s WHERE atom = $1 AND f.token <> s.token
                ),
                everywhere AS (
                    SELECT count(*) AS fires, count(*) FILTER (strong) AS strong, sum(weight) AS weight,
                        (SELECT count(*) FROM tokens WHERE error IS NOT NULL) - (SELECT counted FROM source) AS tokens
                    FROM fired
                ),
                counted AS (
                    -- each rule has its row, even where no token matches
                    SELECT place, rule, count(r.token) AS tokens, count(f.token) AS fires,
                        count(*) FILTER (strong) AS strong, coalesce(sum(weight), 0) AS weight
                    FROM (VALUES (0, 'token'), (1, 'previous'), (2, 'both')) AS rules(place, rule)
                        LEFT JOIN ruled r USING (place) LEFT JOIN fired f ON f.token = r.token
                    GROUP BY place, rule
                )
            SELECT rule, c.tokens, c.fires, e.fires AS all_fires, e.strong AS all_strong, c.strong,
                c.fires / nullif(c.tokens, 0) AS recall, e.fires / nullif(e.tokens, 0) AS chance,
                c.fires / nullif(e.fires, 0) AS precision, c.weight / nullif(e.weight, 0) AS weight_precision,
                c.strong / nullif(e.strong, 0) AS strong_precision
            FROM counted c CROSS JOIN everywhere e ORDER BY place
            """,
            [atom],
            ("recall", "chance", "precision", "weight_precision", "strong_precision"),
        )

    def _examples(self, atom: int, order: str, limit: int, without: int | None = None) -> pd.DataFrame:
        """Return example tokens with distinct passages.

        Columns: token, coefficient, repeats (number of candidates with exactly the same passage). `without` is a token
        to leave out before identical passages are merged, such as the atom's source.
        """
        return self._frame(
            f"""
            WITH
                candidates AS (
                    SELECT token, coefficient FROM activations WHERE atom = $1 AND token IS DISTINCT FROM $3
                    ORDER BY {order}, token LIMIT {_CANDIDATES}
                ),
                wanted AS (
                    SELECT token AS centre, coefficient, (token + step)::INTEGER AS token
                    FROM candidates CROSS JOIN range(-{CONTEXT_RADIUS}, {CONTEXT_RADIUS + 1}) AS near(step)
                ),
                found AS (
                    SELECT *, max(document) FILTER (token = centre) OVER (PARTITION BY centre) AS own
                    FROM wanted JOIN tokens USING (token)
                ),
                passages AS (
                    SELECT centre AS token, coefficient, string_agg(text, '' ORDER BY token) AS passage
                    FROM found WHERE document = own GROUP BY centre, coefficient
                )
            SELECT token, coefficient, count(*) OVER (PARTITION BY passage) AS repeats FROM passages
            QUALIFY row_number() OVER (PARTITION BY passage ORDER BY {order}, token) = 1
            ORDER BY {order}, token LIMIT $2
            """,
            [atom, limit, without],
        )
