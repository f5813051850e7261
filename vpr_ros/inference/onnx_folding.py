"""Graphs without shapes computed at run time, and for a batch of any size. Needs onnx and ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vpr_ros.base.errors import ModelError, brief
from vpr_ros.base.image import Preprocessing
from vpr_ros.inference.onnx import FATAL
from vpr_ros.inference.onnx_nodes import add_constant, import_onnx, make_node, open_model, read_inside

FREE_THE_BATCH = (
    "export it again with a free batch size (in torch.onnx.export dynamic_axes={'input': {0: 'batch'}, 'output': {0: "
    "'batch'}})"
)
ONE_AT_A_TIME = f"the network is made for one image at a time: {FREE_THE_BATCH}"

Values = dict[str, np.ndarray]


def _shapes(model: Any) -> dict[str, list[int | None]]:
    """The shape of every tensor, as far as it can be inferred; None for a free dimension."""
    onnx = import_onnx()
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception as error:  # above protobuf's 2 GB, or shapes that contradict
        raise ModelError(f"the shapes of the network cannot be inferred: {brief(error)}") from error
    tensors = [*graph.value_info, *graph.input, *graph.output]
    shapes = {t.name: t.type.tensor_type.shape.dim for t in tensors if t.type.tensor_type.HasField("shape")}
    found = {name: [d.dim_value if d.HasField("dim_value") else None for d in dims] for name, dims in shapes.items()}
    return found | {tensor.name: list(tensor.dims) for tensor in graph.initializer}


def _reshapes(model: Any) -> Iterator[tuple[Any, np.ndarray]]:
    """Every Reshape of a graph to a constant shape in which 0 copies a dimension, and that shape."""
    onnx = import_onnx()
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    for node in model.graph.node:
        if node.op_type == "Reshape" and node.input[1] in constants:
            target = onnx.numpy_helper.to_array(constants[node.input[1]])
            if target.all() or not any(entry.name == "allowzero" and entry.i for entry in node.attribute):
                yield node, target


def _set_target(model: Any, node: Any, target: Sequence[int]) -> None:
    """Give a Reshape a constant target shape of its own, in which 0 copies a dimension."""
    node.input[1] = add_constant(model, f"{node.output[0]}/target", np.array(target, np.int64))
    del node.attribute[:]  # allowzero, which torch.onnx.export(dynamo=True) always sets


def free_batch(model: Any) -> None:
    """Let Reshapes written for one image take a batch: a leading 1 becomes 0, which copies the input's first dimension.

    The model's input must be of batch 1. For one image nothing changes.
    """
    shapes = _shapes(model)
    for node, target in list(_reshapes(model)):
        first = (shapes.get(node.input[0]) or [None])[0]
        if target.size and target[0] == first == 1:
            _set_target(model, node, [0, *target[1:]])


def fold_shapes(model: Any, size: Preprocessing) -> None:
    """Make constants of what follows from shapes alone, so that little of it is computed at run time.

    What that is shows by running the graph on one image and on two. Raises ModelError if it does not take two.
    """
    derived = _from_shapes(model.graph)
    more = [name for node in model.graph.node for name in _telling(node, set(derived))]
    if not derived and not more:
        return
    one, two = (_values(model, list(dict.fromkeys([*derived, *more])), size, batch) for batch in (1, 2))
    folding = _Folding(model, set(derived), one, two)
    nodes = [new for node in model.graph.node for new in folding.simplified(node)]
    del model.graph.node[:]
    model.graph.node.extend([*folding.zeros(), *nodes])


def _telling(node: Any, derived: set[str]) -> list[str]:
    """The tensors whose values tell how to simplify a node."""
    if node.op_type == "Reshape" and node.input[1] in derived:
        return [node.output[0]]
    if (node.op_type == "Expand" and node.input[1] in derived) or (node.op_type == "Squeeze" and _has_no_axes(node)):
        return [node.input[0]]
    return []


def _has_no_axes(node: Any) -> bool:
    return len(node.input) < 2 and not node.attribute


class _Folding:
    """Nodes with constants in the place of what follows from shapes.

    derived: tensors that follow from shapes. one, two: their values, and those of ``_telling``, for batches of 1 and 2.
    """

    def __init__(self, model: Any, derived: set[str], one: Values, two: Values) -> None:
        self._model, self._one, self._two = model, one, two
        arrays = {name for name in derived if isinstance(one[name], np.ndarray)}  # others are sequences
        self._fixed = {name for name in arrays if np.array_equal(one[name], two[name])}
        self._repeated = {name for name in arrays - self._fixed if _is_repeated(one[name], two[name])}
        self._free = derived - self._fixed

    def simplified(self, node: Any) -> list[Any]:
        """What computes the same outputs as a node."""
        output = node.output[0]
        if self._fixed.issuperset(filter(None, node.output)):
            for name in filter(None, node.output):
                add_constant(self._model, name, self._one[name])
            return []
        if output in self._repeated and len(node.output) == 1:
            # Such as a class token. An Expand would need shapes at run time.
            once = add_constant(self._model, f"{output}/once", self._one[output])
            return self._added_zeros(once, self._one[output].ndim, output)
        if node.op_type == "Reshape" and node.input[1] in self._free:
            shapes = zip(self._one[output].shape, self._two[output].shape, strict=True)
            target = [side if side == other else -1 for side, other in shapes]  # -1: the batch
            if target.count(-1) == 1 and 0 not in target:
                _set_target(self._model, node, target)
        elif node.op_type == "Expand" and node.input[1] in self._free:
            wide, twice = self._one[node.input[1]].tolist(), self._two[node.input[1]].tolist()
            if (wide[0], twice) == (1, [2, *wide[1:]]) and self._one[node.input[0]].dtype == np.float32:
                zeros = add_constant(self._model, f"{output}/once", np.zeros(wide, np.float32))
                nodes = self._added_zeros(zeros, len(wide), f"{output}/wide")
                return [*nodes, make_node("Add", [node.input[0], f"{output}/wide"], output)]
        elif node.op_type == "Squeeze" and _has_no_axes(node):  # of one image it would take the batch away, too
            axes = np.flatnonzero(np.array(self._two[node.input[0]].shape) == 1)
            return [make_node("Squeeze", [node.input[0], add_constant(self._model, f"{output}/axes", axes)], output)]
        return [node]

    def _added_zeros(self, once: str, rank: int, output: str) -> list[Any]:
        """A constant with a first dimension of 1, for each image of the batch."""
        shape = add_constant(self._model, f"{output}/rank", np.array([-1] + [1] * (rank - 1)))
        return [
            make_node("Reshape", ["zeros", shape], f"{output}/zeros"),
            make_node("Add", [f"{output}/zeros", once], output),
        ]

    def zeros(self) -> list[Any]:
        """Nodes that give "zeros", (batch, 1, 1, 1), made of the image."""
        corner = {"starts": [0, 0, 0], "ends": [1, 1, 1], "axes": [1, 2, 3]}
        inputs = [add_constant(self._model, f"zeros/{name}", np.array(value)) for name, value in corner.items()]
        zero = add_constant(self._model, "zeros/zero", np.zeros((), np.float32))
        return [
            make_node("Cast", ["image"], "zeros/pixels", to=import_onnx().TensorProto.FLOAT),
            make_node("Slice", ["zeros/pixels", *inputs], "zeros/one"),
            make_node("Mul", ["zeros/one", zero], "zeros"),
        ]


def drop_empty_inputs(graph: Any) -> None:
    """Remove the names of inputs that are left out at a node's end: with one, ONNX Runtime joins no Pad to its Conv."""
    for node in graph.node:
        while node.input and not node.input[-1]:
            node.input.pop()


def skip_expands(graph: Any) -> None:
    """y / Expand(x, Shape(y)) is y / x, since operations broadcast; so torch writes every normalisation."""
    made = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type in ("Add", "Sub", "Mul", "Div"):
            for place in (0, 1):
                expand = made.get(node.input[place])
                if expand is None or expand.op_type != "Expand":
                    continue
                shape = made.get(expand.input[1])
                if shape is not None and shape.op_type == "Shape" and shape.input[0] == node.input[1 - place]:
                    node.input[place] = expand.input[0]


def _from_shapes(graph: Any) -> list[str]:
    """Tensors that follow from the shapes of others and from constants, in order."""
    known = {tensor.name for tensor in graph.initializer} | {""}
    found: dict[str, None] = {}  # in order
    for node in graph.node:
        read = {*node.input, *read_inside(node)}
        shapes = node.op_type in ("Shape", "Size")
        if not shapes and (not read <= known or node.op_type.startswith("Random")):
            continue
        if shapes or read & found.keys():
            found.update(dict.fromkeys(filter(None, node.output)))
        known.update(node.output)
    return list(found)


def _values(model: Any, names: list[str], size: Preprocessing, batch: int) -> Values:
    """Tensors of a graph for a batch of black images."""
    import onnxruntime

    onnx = import_onnx()
    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    del asked.graph.output[:]
    asked.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    images = np.zeros((batch, size.height, size.width, 3), np.uint8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    session = open_model(asked, options)
    try:
        return dict(zip(names, session.run(names, {"image": images}), strict=True))
    except Exception as error:  # ONNX Runtime's exceptions have no common base class
        if batch > 1:
            raise ModelError(ONE_AT_A_TIME) from error
        raise ModelError(f"ONNX Runtime cannot run the network: {brief(error)}") from error


def _is_repeated(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether the first dimension is the batch, and each image has the same."""
    return one.dtype == np.float32 and one.shape[:1] == (1,) and np.array_equal(np.concatenate([one, one]), two)


def prune(graph: Any) -> None:
    """Remove nodes and weights that no output needs."""
    needed = {entry.name for entry in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed |= {*node.input, *read_inside(node)}
    del graph.node[:]
    graph.node.extend(reversed(kept))
    weights = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(weights)
