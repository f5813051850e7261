#!/usr/bin/env python3
"""Let XFeat's ONNX file take images of any multiple of 32 pixels; the published one takes 640 x 640 alone.

    python tools/shape_xfeat.py published.onnx models/local_features/xfeat.onnx

Two things hold the size there: the features that are made larger are given 80 x 80 cells, and pixels are gathered into
cells slice by slice. The first ask the finest features instead, one SpaceToDepth does the second. Weights stay as they
are, and the outputs at 640 x 640 too, which is checked.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper

_CELL = 8


def free_size(published: onnx.ModelProto) -> onnx.ModelProto:
    """The same network with height and width left open."""
    model = copy.deepcopy(published)
    graph = model.graph
    by_output = {name: node for node in graph.node for name in node.output}
    resizes = [node for node in graph.node if node.op_type == "Resize"]
    finest = _beside(graph, resizes[0].output[0])
    grey = next(node for node in graph.node if node.op_type == "InstanceNormalization").output[0]
    cells = [node for node in graph.node if node.op_type == "Reshape"][-1].output[0]
    for node in resizes:  # their batch and channels are the finest features' too
        node.input[3] = "finest_shape"
    by_output["finest_shape"] = helper.make_node("Shape", [finest], ["finest_shape"])
    by_output[cells] = helper.make_node("SpaceToDepth", [grey], [cells], blocksize=_CELL)
    kept = _needed([output.name for output in graph.output], by_output)
    del graph.node[:]
    graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    constants = [constant for constant in graph.initializer if constant.name in used]
    del graph.initializer[:]
    graph.initializer.extend(constants)
    for value, factor in [(graph.input[0], 1), *((output, _CELL) for output in graph.output)]:
        for axis, name in ((2, "height"), (3, "width")):
            value.type.tensor_type.shape.dim[axis].dim_param = name if factor == 1 else f"{name}/{factor}"
    del graph.value_info[:]
    onnx.checker.check_model(model)
    return model


def _beside(graph: onnx.GraphProto, name: str) -> str:
    """What a value is added to."""
    added = next(node for node in graph.node if node.op_type == "Add" and name in node.input)
    return next(other for other in added.input if other != name)


def _needed(outputs: list[str], by_output: dict[str, onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes that the outputs hang on, each after those it needs. by_output: the node that makes each value."""
    order: list[onnx.NodeProto] = []
    seen: set[int] = set()

    def visit(name: str) -> None:
        node = by_output.get(name)
        if node is None or id(node) in seen:
            return
        seen.add(id(node))
        for above in node.input:
            visit(above)
        order.append(node)

    for name in outputs:
        visit(name)
    return order


def outputs_of(model: onnx.ModelProto, image: np.ndarray) -> list[np.ndarray]:
    """(1, 3, H, W) float32 -> what the network says."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})


def main() -> None:
    published = onnx.load(sys.argv[1])
    freed = free_size(published)
    image = np.random.default_rng(0).random((1, 3, 640, 640), np.float32)
    for before, after in zip(outputs_of(published, image), outputs_of(freed, image), strict=True):
        difference = float(np.abs(before - after).max())
        print(f"{before.shape}: differs by at most {difference:.2g}")
        assert difference < 1e-4
    onnx.save(freed, Path(sys.argv[2]))


if __name__ == "__main__":
    main()
