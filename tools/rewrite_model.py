#!/usr/bin/env python3
"""Write a model's ONNX file again as `vpr export` does it now, if that computes the same.

    python tools/rewrite_model.py MODEL.onnx

Its maps stay valid: the manifest keeps the fingerprint, and says what the new file's is. Exits with 1, and changes
nothing, if an output differs by a bit.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from vpr_ros.base.files import written_whole  # noqa: E402
from vpr_ros.inference.describer import Manifest, fingerprint_file  # noqa: E402
from vpr_ros.inference.onnx import open_session  # noqa: E402
from vpr_ros.inference.onnx_graph import write_folded  # noqa: E402
from vpr_ros.inference.vocabulary import own_vocabulary  # noqa: E402

IMAGES = 8  # random ones, to compare on


def outputs(path: Path, manifest: Manifest, given: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Every output of a network, one image at a time, as robots run it."""
    size = manifest.preprocessing
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, size.height, size.width, 3), np.uint8)
    session = open_session(path, 1, gpu=False)
    found = [session.run(None, {"image": image[None], **given}) for image in images]
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def main() -> int:
    path = Path(sys.argv[1])
    manifest = Manifest.load(path)
    given = own_vocabulary(path, manifest).inputs if manifest.vocabulary else {}
    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder) / path.name
        model = onnx.load(str(path))
        write_folded(model, new, {entry.key: entry.value for entry in model.metadata_props})
        before, after = (outputs(file, manifest, given) for file in (path, new))
        if not all(np.array_equal(one, other) for one, other in zip(before, after, strict=True)):
            print(f"{path}: the new file computes something else; nothing is changed")
            return 1
        counts = [len(onnx.load(str(file)).graph.node) for file in (path, new)]
        with written_whole(path) as part:
            part.write_bytes(new.read_bytes())
    replace(manifest, file=fingerprint_file(path)).save(path)
    print(f"{path}: {counts[0]} operations, now {counts[1]}, and the same outputs bit by bit")
    return 0


if __name__ == "__main__":
    sys.exit(main())
