"""A network of your own: an ONNX file with a manifest beside it, then a map built with it. Needs `pip install onnx`.

    python examples/own_network.py demo/bags/overcast demo/bags/changeable demo/bags/sun

The network here is colours on an 8 x 8 grid, to keep the file short. One from torch is exported the same way:
torch.onnx.export(model, images, "mine.onnx", input_names=["images"], output_names=["descriptor"], ...).
"""

import sys
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from vpr_ros import Localizer, build_map, open_describer, open_drive
from vpr_ros.base.image import Preprocessing
from vpr_ros.inference.describer import Manifest, fingerprint_file
from vpr_ros.localize.calibrator import fit
from vpr_ros.localize.held_out import describe_drive

SIZE, GRID = 64, 8
CELL = [SIZE // GRID] * 2


def write_network(path: Path) -> None:
    """images (B, 64, 64, 3) uint8 -> descriptor (B, 192) float32, unit length."""
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["cells"], kernel_shape=CELL, strides=CELL),
        helper.make_node("Flatten", ["cells"], ["flat"]),
        helper.make_node("ReduceMean", ["flat"], ["mean"], axes=[1]),
        helper.make_node("Sub", ["flat", "mean"], ["contrast"]),
        helper.make_node("LpNormalization", ["contrast"], ["descriptor"], axis=1),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])
    descriptor = helper.make_tensor_value_info("descriptor", TensorProto.FLOAT, ["batch", 3 * GRID * GRID])
    graph = helper.make_graph(nodes, "colour_grid", [images], [descriptor])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    Manifest(
        name=str(path), fingerprint=fingerprint_file(path), dimension=3 * GRID * GRID, depth=False,
        preprocessing=Preprocessing(height=SIZE, width=SIZE),
    ).save(path)  # fmt: skip


def main(reference: str, held_out: str, query: str) -> None:
    model, map_file = "colour_grid.onnx", "colour_grid.vprmap"
    write_network(Path(model))
    describer = open_describer(model)
    with build_map(Path(map_file), [open_drive(reference)], describer) as place_map:
        drive = describe_drive(open_drive(held_out), place_map, describer)  # as vpr map calibrate does
        place_map.set_calibration(fit(place_map.places, describer, [drive]).calibration)
    with Localizer.open(map_file, model) as localizer:
        answers = [localizer.localize(recorded.load()) for recorded in open_drive(query)]
    print(f"{sum(answer.best is not None for answer in answers)} of {len(answers)} images have a pose on {map_file}")


if __name__ == "__main__":
    main(*sys.argv[1:])
