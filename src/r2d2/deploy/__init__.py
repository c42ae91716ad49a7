"""Export of a model for programs without Python: ONNX graphs, tokenizer.json and instructions.

Needs the packages of the extra `onnx`.
"""
