"""Export: `torch.export` from the declared inputs, dims and sizes, and the same answers at other sizes."""

from __future__ import annotations

import warnings

import torch

from lamina.check.problem import Broken
from lamina.check.walk import Walk, parts, same_dicts
from lamina.export.graph import arguments, takes_rest, varying, varying_dims

MOST = 1024
"""The greatest batch that is exported for here."""


def exports(walk: Walk) -> None:
    if walk.found("undeclared-size", "wrong-dims", "random-at-evaluation", "rows-leak") or walk.count < 3:
        raise Broken
    task, model = walk.task, walk.model
    _ = walk.output
    example = {name: value[:3] for name, value in walk.batch.items()}
    inputs = arguments(task, example)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(
                model, inputs, dynamic_shapes=(varying_dims(task, MOST),) if takes_rest(model) else varying_dims(task, MOST)
            )
            forward = program.module()
    except Exception as error:
        want = "expected torch.export to take the model, with B and the dims in sizes varying"
        advice = "no Python decisions on the values or the varying sizes of tensors"
        walk.problem("export-fails", f"{want}; {walk.told(error)}: {advice}", method="model")
        return
    others = [("all rows", walk.batch), ("one row", {n: v[:1] for n, v in walk.batch.items()})]
    if varying(task):
        others += [("an example without padding", single) for single in walk.alone[:2]]
    for what, batch in others:
        with torch.no_grad():
            want = parts(walk.attempt("forward", lambda b=batch: model(*arguments(task, b))))
            try:
                got = parts(forward(*arguments(task, batch)))
            except Exception as error:
                walk.problem(
                    "export-differs", f"expected the exported model to take {what}", f"{walk.told(error)}", method="model"
                )
                return
        if (name := same_dicts(got, want)) is not None:
            reason = f"expected the exported model to say the same as the model for {what}; output {name} differs".replace(
                "  ", " "
            )
            walk.problem("export-differs", f"{reason}: no size, value or branch may be fixed while exporting", method="model")
            return


CHECKS = (exports,)
