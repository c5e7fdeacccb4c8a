"""The compiled loops that make codes of paths."""

import numba

from itda_core.pursuit.compiling import compiled


@compiled(parallel=True)
def sum_repeats(steps, picks, coefficients):
    """Sum what a row gave to an atom in several steps, in place, in order of first pick; steps become numbers of atoms.

    Picks that cancel leave no coefficient.
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
    """Write the codes of rows numbered from `first` to three flat arrays from `at` on; returns where they end."""
    for i in range(len(steps)):
        for step in range(steps[i]):
            row[at], atom[at], coefficient[at] = first + i, picks[i, step], coefficients[i, step]
            at += 1
    return at
