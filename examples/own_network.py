"""A network of your own: an ONNX file becomes a model, then a map is built with it. Needs `pip install onnx`.

    python examples/own_network.py demo/bags/overcast demo/bags/changeable demo/bags/sun

The network here is colours on an 8 x 8 grid, to keep the file short. `vpr model import` does the same from a shell.
"""

import sys
from pathlib import Path
from tempfile import mkdtemp

import onnx
from onnx import TensorProto, helper

from vpr_ros import Localizer, build_map, open_describer, open_drive
from vpr_ros.inference.importing import import_model, open_onnx
from vpr_ros.localize.calibrator import fit
from vpr_ros.localize.held_out import describe_drive

SIZE, GRID = 64, 8
CELL = [SIZE // GRID] * 2


def write_network(path: Path) -> None:
    """images (B, 3, 64, 64) float32, normalised -> descriptor (B, 192) float32."""
    nodes = [
        helper.make_node("AveragePool", ["images"], ["cells"], kernel_shape=CELL, strides=CELL),
        helper.make_node("Flatten", ["cells"], ["flat"]),
        helper.make_node("ReduceMean", ["flat"], ["mean"], axes=[1]),
        helper.make_node("Sub", ["flat", "mean"], ["descriptor"]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])
    descriptor = helper.make_tensor_value_info("descriptor", TensorProto.FLOAT, ["batch", 3 * GRID * GRID])
    graph = helper.make_graph(nodes, "colour_grid", [images], [descriptor])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def main(reference: str, held_out: str, query: str) -> None:
    folder = Path(mkdtemp())
    network, map_file = folder / "network.onnx", folder / "colour_grid.vprmap"
    write_network(network)
    model = import_model(lambda _: open_onnx(network), folder=folder, name="colour_grid", licence="Apache-2.0")
    describer = open_describer(model.path)
    with build_map(map_file, [open_drive(reference)], describer) as place_map:
        drive = describe_drive(open_drive(held_out), place_map, describer)  # as vpr map calibrate does
        place_map.set_calibration(fit(place_map.places, describer, [drive]).calibration)
    with Localizer.open(map_file, str(model.path)) as localizer:
        answers = [localizer.localize(recorded.load()) for recorded in open_drive(query)]
    print(f"{sum(answer.best is not None for answer in answers)} of {len(answers)} images have a pose on {map_file}")


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) > 3 else sys.exit(__doc__)
