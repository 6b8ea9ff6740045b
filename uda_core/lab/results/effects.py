"""What each term of a factorial study does, in points of percent, seed by seed: the seeds are paired.

A cell is a row that is named by its terms, such as "A + C": from "none" to all of them, in one order. Other rows may
stand beside the cells.
"""

from itertools import combinations, product

import pandas as pd

from uda_core.errors import UserError


def cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Scores of the cells in percent: a line a task and seed, a column a cell, "none" first and all terms last.

    The row with most terms names them. Only seeds that every cell has; of several tasks each, without their mean.

    Raises:
        UserError: if cells are missing, or no seed is in all of them.
    """
    lines = frame[(frame["measure"] == "score") & (frame["class"] == "")]
    lines = lines[lines["task"] != ""] if lines["task"].any() else lines
    scores = lines.pivot_table(index=["task", "seed"], columns="row", values="value", aggfunc="last", sort=False)
    terms = max((row.split(" + ") for row in scores), key=len, default=[])
    chosen = product((False, True), repeat=len(terms))
    names = [" + ".join(t for t, on in zip(terms, of_cell, strict=True) if on) or "none" for of_cell in chosen]
    if missing := [name for name in names if name not in scores]:
        raise UserError(f"no effects without every combination of terms; missing: {', '.join(missing)}")
    scores = 100 * scores[names].dropna()
    if scores.empty:
        raise UserError(f"no effects: no seed is in all {len(names)} cells; measure one seed in each of them")
    return scores


def effects(frame: pd.DataFrame) -> pd.DataFrame:
    """Effects of the terms: a line a task and seed, a column (kind, term) or ("interaction", "A x B").

    alone                 the cell of the term minus "none"
    on top of the others  the cell of all terms minus the cell of all but this one
    main effect           mean of the half of the cells that has the term, minus mean of the other half
    interaction           half of: the main effect of A among the cells with B, minus that among the cells without B

    The last two as in Box, Hunter & Hunter, Statistics for Experimenters (2nd ed., 2005), chapter 5: with s = +1 in the
    cells that have a term and -1 in the others, sum(s_A y) and sum(s_A s_B y) over half the number of cells.

    Raises:
        UserError: as `cells` does.
    """
    y = cells(frame)
    *_, every = y
    terms, half = every.split(" + "), len(y.columns) / 2
    s = pd.DataFrame(list(product((-1, 1), repeat=len(terms))), index=y.columns, columns=terms)
    found = {}
    for term in terms:
        others = " + ".join(other for other in terms if other != term) or "none"
        found["alone", term] = y[term] - y["none"]
        found["on top of the others", term] = y[every] - y[others]
        found["main effect", term] = y @ s[term] / half
    for a, b in combinations(terms, 2):
        found["interaction", f"{a} x {b}"] = y @ (s[a] * s[b]) / half
    return pd.DataFrame(found)
