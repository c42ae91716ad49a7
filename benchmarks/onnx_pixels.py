"""The resize inside image.onnx beside the project's own, and what the difference changes.

    python benchmarks/onnx_pixels.py FOLDER ../shared/data/flickr8k-cn/val.parquet --model emoji

FOLDER is what `r2d2 export onnx MODEL --out FOLDER` wrote. Prints, over photographs of a Parquet
file (column `image`), the mean and the largest difference in grey levels of 255, the share of
values that differ, and the smallest cosine between the embeddings of both ways.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pyarrow.parquet as pq
import torch

import r2d2
from r2d2.images.decode import decode_image, resize

INSIDE = "pixels.float"  # the resized picture, before it is normalised


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("photographs")
    parser.add_argument("--model", default="emoji")
    parser.add_argument("--count", type=int, default=100)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    graph = onnx.load(arguments.folder / "image.onnx")
    graph.graph.output.append(
        onnx.helper.make_tensor_value_info(INSIDE, onnx.TensorProto.FLOAT, None)
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options)
    model = r2d2.load(arguments.model, "cpu")
    size = model.model.config.vision.image_size
    files = pq.read_table(arguments.photographs)["image"].to_pylist()[: arguments.count]
    means, largest, differing, cosines = [], 0, [], []
    for file in files:
        picture = decode_image(file)
        found, embedding = session.run([INSIDE, "embedding"], {"image": np.asarray(picture)[None]})
        apart = np.abs(found[0].transpose(1, 2, 0) - resize(picture, size).astype(np.float32))
        means.append(apart.mean())
        differing.append((apart > 0).mean())
        largest = max(largest, int(apart.max()))
        cosines.append(float(embedding[0] @ model.encode_images([picture]).embedding[0].numpy()))
    print(f"{len(files)} photographs to {size}x{size} pixels")
    print(f"mean difference {np.mean(means):.5f}, largest {largest}, of 255 grey levels")
    print(f"values that differ {100 * np.mean(differing):.3f}%")
    print(f"cosine of both embeddings: at least {min(cosines):.6f}")


if __name__ == "__main__":
    main()
