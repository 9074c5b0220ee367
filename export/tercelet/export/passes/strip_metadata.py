"""Strip what the exporter leaves behind for debugging.

Precondition: any model. Postcondition: no doc strings and no metadata on model, graph, nodes, values or
functions; they hold stack traces with the paths of the machine that exported. The numbers are untouched.
"""

from __future__ import annotations

import onnx


def strip_metadata(model: onnx.ModelProto) -> None:
    """Clear the strings in place."""
    model.doc_string = ""
    del model.metadata_props[:]
    graph = model.graph
    graph.doc_string = ""
    del graph.metadata_props[:]
    nodes = list(graph.node)
    for function in model.functions:
        function.doc_string = ""
        del function.metadata_props[:]
        nodes += function.node
    for node in nodes:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.doc_string = ""
        del value.metadata_props[:]
    for tensor in graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]
