"""Models that are ONNX graphs, run by ONNX Runtime; `r2d2.deploy` writes them."""
