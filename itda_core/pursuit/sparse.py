"""Compiled loops that convert pursuit paths to sparse codes."""

import numba

from itda_core.pursuit.compiling import compiled


@compiled(parallel=True)
def sum_repeats(steps, picks, coefficients):
    """Sum the coefficients of repeated picks of a row, in place.

    Atoms stay in order of their first pick; `steps` becomes the number of distinct atoms. Picks that cancel leave no
    coefficient.
    """
    for row in numba.prange(len(steps)):
        n = 0
        for step in range(steps[row]):
            at = 0
            while at < n and picks[row, at] != picks[row, step]:
                at += 1
            if at == n:
                picks[row, n], coefficients[row, n] = picks[row, step], coefficients[row, step]
                n += 1
            else:
                coefficients[row, at] += coefficients[row, step]
        kept = 0
        for at in range(n):
            if coefficients[row, at] != 0:
                picks[row, kept], coefficients[row, kept] = picks[row, at], coefficients[row, at]
                kept += 1
        steps[row] = kept


@compiled()
def flatten(first, steps, picks, coefficients, row, atom, coefficient, at):
    """Write the codes of rows numbered from `first` to flat arrays from `at` on.

    Returns the end of the written range.
    """
    for i in range(len(steps)):
        for step in range(steps[i]):
            row[at], atom[at], coefficient[at] = first + i, picks[i, step], coefficients[i, step]
            at += 1
    return at
