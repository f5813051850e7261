"""Changes to an ONNX graph, so that a network of any origin takes and gives what a model here does. Needs onnx."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.base.errors import ModelError, brief
from vpr_ros.base.image import Preprocessing
from vpr_ros.inference.onnx_folding import (
    FREE_THE_BATCH,
    drop_empty_inputs,
    fold_shapes,
    free_batch,
    prune,
    skip_expands,
)
from vpr_ros.inference.onnx_nodes import OPSET, add_constant, import_onnx, make_node, open_model, opset_of

BATCH = "batch"
_SHORTEST = 1e-12  # a descriptor's length before it is made 1
_PREFIX = "network/"
_ERRORS = 3  # of ONNX Runtime's log
_LARGE = 4096  # numbers in a weight, from which on it is stored in half the space if that changes nothing


@dataclass(frozen=True)
class Input:
    """The image input of a network."""

    name: str
    layout: str
    """Either nchw or nhwc."""
    dtype: str
    """Either float or uint8."""
    sides: tuple[int | None, ...]
    """Its shape, of length 4; None for a side that is free."""

    @property
    def size(self) -> tuple[int | None, int | None]:
        """Height and width, pixels."""
        rows = self.layout.index("h")
        return self.sides[rows], self.sides[rows + 1]

    def fits(self, layout: str) -> bool:
        """Whether three channels can be where a layout has them."""
        return self.sides[layout.index("c")] in (None, 3)


@dataclass(frozen=True)
class Outputs:
    """The outputs of a network that a model gives. depth: empty for none; it may have a channel, (B, 1, h, w)."""

    descriptor: str
    descriptor_rank: int
    depth: str = ""
    depth_rank: int = 3


def load_graph(path: Path) -> Any:
    """A whole onnx.ModelProto, weights in files beside it included, with operations of OPSET or later.

    Raises ModelError if the file or one beside it is missing or cannot be read.
    """
    onnx = import_onnx()
    try:
        model = onnx.load(str(path))
    except FileNotFoundError as error:
        raise ModelError(
            f"{path} keeps its weights in another file, which is missing beside it ({brief(error)}): copy both"
        ) from error
    except Exception as error:  # protobuf's and onnx's errors have no common base class
        raise ModelError(f"{path} cannot be read as ONNX: {brief(error)}") from error
    if not model.graph.node:
        raise ModelError(f"{path} is not an ONNX file with a network: give the .onnx file itself")
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    own = opset_of(model)
    if own < OPSET:
        try:
            model = onnx.version_converter.convert_version(model, OPSET)
        except Exception as error:  # the converter's errors have no common base class
            raise ModelError(
                f"{path} is of ONNX opset {own} and cannot be brought to {OPSET} ({brief(error)}): export it again "
                f"with opset_version={OPSET}"
            ) from error
    return model


def image_input(model: Any, name: str) -> Input:
    """The only input of a network, which must be a batch of RGB images. name: of the file, for errors.

    Raises ModelError if there are several inputs, or one of another shape or type.
    """
    types = import_onnx().TensorProto
    weights = {tensor.name for tensor in model.graph.initializer}
    given = [entry for entry in model.graph.input if entry.name not in weights]
    if len(given) != 1:
        names = ", ".join(entry.name for entry in given) or "none"
        raise ModelError(f"{name} has the inputs {names}: a network must have one, a batch of images; export it so")
    tensor = given[0].type.tensor_type
    sides = tuple(dim.dim_value or None for dim in tensor.shape.dim)
    dtype = {types.FLOAT: "float", types.UINT8: "uint8"}.get(tensor.elem_type)
    if dtype is None:
        kind = types.DataType.Name(tensor.elem_type)
        raise ModelError(
            f"{name} takes {kind}, not float32 or uint8: export the float32 network, and halve it with "
            "`vpr export --fp16` later"
        )
    layouts = ("nchw", "nhwc") if dtype == "float" else ("nhwc", "nchw")  # likeliest first
    for layout in layouts if len(sides) == 4 else ():
        if (found := Input(given[0].name, layout, dtype, sides)).fits(layout):
            if sides[0] not in (None, 1):
                raise ModelError(f"{name} takes {sides[0]} images at a time: {FREE_THE_BATCH}")
            return found
    shape = ", ".join("?" if side is None else str(side) for side in sides)
    raise ModelError(f"{name} takes ({shape}), not a batch of RGB images: (B, 3, H, W) or (B, H, W, 3)")


def wrap(model: Any, given: Input, size: Preprocessing, chosen: Outputs) -> Any:
    """A network as a model: "image" (batch, H, W, 3) uint8 -> "descriptor" (batch, D), unit length, and "depth".

    size: the image's size, mean and standard deviation. The model given is changed. Raises ModelError if the network
    is larger than a file can be, or takes one image at a time.
    """
    onnx = import_onnx()
    _set_image_size(model, given, size, 1)
    free_batch(model)
    _set_image_size(model, given, size, BATCH)
    model = onnx.compose.add_prefix(model, _PREFIX)
    outer = model.graph
    nodes = [*_from_image(model, f"{_PREFIX}{given.name}", given, size), *outer.node]
    nodes += _to_descriptor(model, f"{_PREFIX}{chosen.descriptor}", chosen.descriptor_rank)
    float32, uint8 = onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8
    outputs = [onnx.helper.make_tensor_value_info("descriptor", float32, [BATCH, None])]
    if chosen.depth:
        nodes += _to_depth(model, f"{_PREFIX}{chosen.depth}", chosen.depth_rank)
        outputs.append(onnx.helper.make_tensor_value_info("depth", float32, [BATCH, None, None]))
    image = onnx.helper.make_tensor_value_info("image", uint8, [BATCH, size.height, size.width, 3])
    for old, new in ((outer.node, nodes), (outer.input, [image]), (outer.output, outputs), (outer.value_info, [])):
        del old[:]
        old.extend(new)
    skip_expands(outer)
    fold_shapes(model, size)
    prune(outer)
    model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True)
    return model


def _from_image(model: Any, inner: str, given: Input, size: Preprocessing) -> list[Any]:
    """Nodes from "image" to the network's input."""
    if given.dtype == "uint8" and given.layout == "nchw":
        return [make_node("Transpose", ["image"], inner, perm=[0, 3, 1, 2])]
    if given.dtype == "uint8":
        return [make_node("Identity", ["image"], inner)]
    shape = (1, 3, 1, 1) if given.layout == "nchw" else (1, 1, 1, 3)
    mean = add_constant(model, "mean", np.array(size.mean, np.float32).reshape(shape))
    scale = add_constant(model, "scale", (1 / np.array(size.std)).astype(np.float32).reshape(shape))
    nodes = [make_node("Cast", ["image"], "pixels", to=import_onnx().TensorProto.FLOAT)]
    if given.layout == "nchw":
        nodes.append(make_node("Transpose", ["pixels"], "planes", perm=[0, 3, 1, 2]))
    nodes.append(make_node("Sub", [nodes[-1].output[0], mean], "centred"))
    return [*nodes, make_node("Mul", ["centred", scale], inner)]


def _to_descriptor(model: Any, found: str, rank: int) -> list[Any]:
    """Nodes from the network's output to "descriptor", flat and of unit length."""
    flat = "flat" if rank > 2 else "float"
    nodes = [make_node("Cast", [found], "float", to=import_onnx().TensorProto.FLOAT)]
    if rank > 2:
        nodes.append(make_node("Flatten", ["float"], flat, axis=1))
    if opset_of(model) < 18:  # axes are an attribute
        nodes.append(make_node("ReduceL2", [flat], "length", axes=[1], keepdims=1))
    else:
        axes = add_constant(model, "axes", np.array([1], np.int64))
        nodes.append(make_node("ReduceL2", [flat, axes], "length", keepdims=1))
    shortest = add_constant(model, "shortest", np.array(_SHORTEST, np.float32))
    nodes.append(make_node("Max", ["length", shortest], "divisor"))
    return [*nodes, make_node("Div", [flat, "divisor"], "descriptor")]


def _to_depth(model: Any, found: str, rank: int) -> list[Any]:
    """Nodes from the network's output to "depth"."""
    planes = "depth" if rank == 3 else "depths"
    nodes = [make_node("Cast", [found], planes, to=import_onnx().TensorProto.FLOAT)]
    if rank > 3:
        nodes.append(make_node("Squeeze", [planes, add_constant(model, "channel", np.array([1], np.int64))], "depth"))
    return nodes


def _set_image_size(model: Any, given: Input, size: Preprocessing, batch: int | str) -> None:
    """Fix the input's size, and let the shapes of all else follow from it."""
    sides = (3, size.height, size.width) if given.layout == "nchw" else (size.height, size.width, 3)
    entry = next(entry for entry in model.graph.input if entry.name == given.name)
    for dim, value in zip(entry.type.tensor_type.shape.dim, (batch, *sides), strict=True):
        dim.Clear()
        if isinstance(value, str):
            dim.dim_param = value
        else:
            dim.dim_value = value
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")


def write_folded(model: Any, path: Path, metadata: dict[str, str]) -> None:
    """Write a model with what does not depend on the image computed once, by ONNX Runtime.

    Raises ModelError if it is too large for a file, or ONNX Runtime cannot run it.
    """
    import onnxruntime

    onnx = import_onnx()
    drop_empty_inputs(model.graph)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    # No further: then operations would be ONNX Runtime's own.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = _ERRORS
    open_model(model, options)
    model = onnx.load(str(path))
    used = {node.domain for node in model.graph.node} | {""}
    domains = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(domains)
    onnx.helper.set_model_props(model, metadata)
    _halve_weights(model)
    onnx.save(model, str(path))


def _halve_weights(model: Any) -> None:
    """Store large weights that are numbers of float16 anyway as such; nodes that cast them back give the same.

    Published weights of transformers often are. Whatever runs the model computes the casts once.
    """
    onnx = import_onnx()
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < _LARGE:
            continue
        weights = onnx.numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            halves = weights.astype(np.float16)
        if np.array_equal(halves.astype(np.float32), weights):
            name = f"{tensor.name}_half"
            casts.append(make_node("Cast", [name], tensor.name, to=onnx.TensorProto.FLOAT))
            tensor.CopyFrom(onnx.numpy_helper.from_array(halves, name))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
