"""A small ONNX file by hand: one operation on one input (protobuf's wire format, onnx.proto3)."""


def write_onnx(path, shape, axes=None, then=None):
    """Mean over `axes`, or the input as it is; then an operation without settings, such as Neg."""
    nodes, name = [], "x"
    if axes is not None:
        kept = _field(1, "keepdims") + _int(20, 2) + _int(3, 0)
        over = _field(1, "axes") + _int(20, 7) + b"".join(_int(8, axis) for axis in axes)
        nodes.append(
            _field(1, name) + _field(2, "m") + _field(4, "ReduceMean") + _field(5, over)
            + _field(5, kept)
        )  # fmt: skip
        name = "m"
    nodes.append(_field(1, name) + _field(2, "y") + _field(4, then or "Identity"))
    graph = b"".join(_field(1, node) for node in nodes) + _field(2, "g")
    graph += _field(11, _value("x", shape)) + _field(12, _value("y", None))
    path.write_bytes(_int(1, 8) + _field(7, graph) + _field(8, _int(2, 13)))
    return str(path)


def _value(name, shape):
    """A float32 tensor; a dimension of text is free."""
    kind = _int(1, 1)
    if shape is not None:
        dims = [_field(2, d) if isinstance(d, str) else _int(1, d) for d in shape]
        kind += _field(2, b"".join(_field(1, dim) for dim in dims))
    return _field(1, name) + _field(2, _field(1, kind))


def _field(number, data):
    data = data.encode() if isinstance(data, str) else data
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _int(number, value):
    return _varint(number << 3) + _varint(value)


def _varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])
