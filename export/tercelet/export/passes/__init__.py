"""Passes, one a file: over the torch module before it is traced, and over the ONNX graph after."""
