"""A change to an ONNX graph that keeps more of an 8-bit network in whole numbers. A norm that stands behind a pool would be
an island of floats: a conversion there, one back, and a change of layout. It is folded into the convolution before the pool.

GELU stays such an island. As a table of sigmoids and a product of 8 bits, x sigmoid(1.702 x), it was as accurate and no faster.
"""

from __future__ import annotations

from typing import Any


def fold_norms_over_pools(model: Any) -> int:
    """Fold Conv -> MaxPool -> BatchNormalization into Conv -> MaxPool; returns how many norms are gone.

    model: an `onnx.ModelProto`, changed in place. The greatest of a window stays the greatest under a rising line, so this
    is exact where every channel's scale is positive; a norm with another is left as it is.
    """
    import numpy as np
    from onnx import numpy_helper

    graph = model.graph
    made_by = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    folded = 0
    for norm in [node for node in graph.node if node.op_type == "BatchNormalization"]:
        pool = made_by.get(norm.input[0])
        if pool is None or pool.op_type != "MaxPool" or len(_users(graph, pool.output[0])) > 1:
            continue
        conv = made_by.get(pool.input[0])
        if conv is None or conv.op_type != "Conv" or len(_users(graph, conv.output[0])) > 1:
            continue
        names = [*norm.input[1:], *conv.input[1:]]
        if any(name not in constants or len(_users(graph, name)) > 1 for name in names):
            continue
        scale_C, shift_C, mean_C, var_C = (numpy_helper.to_array(constants[name]) for name in norm.input[1:])
        epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
        factor_C = scale_C / np.sqrt(var_C + epsilon)
        if (factor_C <= 0).any():
            continue
        weight = numpy_helper.to_array(constants[conv.input[1]])
        bias_C = numpy_helper.to_array(constants[conv.input[2]]) if len(conv.input) > 2 else np.zeros_like(mean_C)
        made = weight * factor_C.reshape(-1, *[1] * (weight.ndim - 1))
        constants[conv.input[1]].CopyFrom(numpy_helper.from_array(made.astype(weight.dtype), conv.input[1]))
        name = f"{conv.input[1]}.bias"
        bias = ((bias_C - mean_C) * factor_C + shift_C).astype(weight.dtype)
        graph.initializer.append(numpy_helper.from_array(bias, name))
        del conv.input[2:]
        conv.input.append(name)
        pool.output[0] = norm.output[0]
        graph.node.remove(norm)
        for unread in names:
            if unread != conv.input[1]:
                graph.initializer.remove(constants[unread])
        folded += 1
    return folded


def _users(graph: Any, name: str) -> list[Any]:
    """The nodes that read `name`."""
    return [node for node in graph.node if name in node.input]
