"""A model for programs without Python: ONNX graphs, one tokenizer.json, a note on how to use them.

Needs the packages of the extra `onnx`.
"""
