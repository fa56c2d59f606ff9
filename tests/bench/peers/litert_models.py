"""TFLite files of int8 networks, built from the schema: no TensorFlow is needed."""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as s

from lines import Conv, Dense, Line, MaxPool, after, product


class Net:
    def __init__(self):
        self.random = np.random.default_rng(0)
        self.model = s.ModelT()
        self.model.version = 3
        self.model.buffers = [s.BufferT()]
        self.model.operatorCodes = []
        self.graph = s.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]

    def tensor(self, shape, element, scales, data=None, axis=0) -> int:
        t = s.TensorT()
        t.name = f"t{len(self.graph.tensors)}"
        t.shape, t.type, t.buffer = list(shape), element, 0
        t.quantization = q = s.QuantizationParametersT()
        q.scale, q.zeroPoint, q.quantizedDimension = list(scales), [0] * len(scales), axis
        if data is not None:
            t.buffer = len(self.model.buffers)
            b = s.BufferT()
            b.data = np.frombuffer(data.tobytes(), np.uint8)
            self.model.buffers.append(b)
        self.graph.tensors.append(t)
        return len(self.graph.tensors) - 1

    def operator(self, builtin: int, inputs: list[int], output: int, kind, options) -> None:
        codes = [c.builtinCode for c in self.model.operatorCodes]
        if builtin not in codes:
            code = s.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = builtin
            code.version = 3
            self.model.operatorCodes.append(code)
            codes.append(builtin)
        op = s.OperatorT()
        op.opcodeIndex = codes.index(builtin)
        op.inputs, op.outputs = inputs, [output]
        op.builtinOptionsType, op.builtinOptions = kind, options
        self.graph.operators.append(op)


def int8(line: Line) -> bytes:
    """int8 activations, int8 weights with a scale per output and an int32 bias; maps are [row][column][channel]."""
    net = Net()
    step = 1 / 40
    rows_first = lambda shape: (1, *shape[1:], shape[0])
    shape = line.sample
    at = net.tensor(rows_first(shape), s.TensorType.INT8, [step])
    net.graph.inputs = [at]
    for layer in line.layers:
        below = after(layer, shape)
        match layer:
            case Conv(outputs, kernel, stride, pad):
                assert pad == kernel // 2, "TFLite pads as SAME does"
                taps = shape[0] * kernel * kernel
                scales = [1 / (40 * taps**0.5)] * outputs
                codes = net.random.integers(-127, 128, (outputs, kernel, kernel, shape[0]), dtype=np.int8)
                w = net.tensor(codes.shape, s.TensorType.INT8, scales, codes)
                options = s.Conv2DOptionsT()
                options.padding, options.strideW, options.strideH = s.Padding.SAME, stride, stride
                options.dilationWFactor = options.dilationHFactor = 1
                builtin, kind = s.BuiltinOperator.CONV_2D, s.BuiltinOptions.Conv2DOptions
            case Dense(outputs):
                taps = product(shape)
                scales = [1 / (40 * taps**0.5)] * outputs
                codes = net.random.integers(-127, 128, (outputs, taps), dtype=np.int8)
                w = net.tensor(codes.shape, s.TensorType.INT8, scales, codes)
                options = s.FullyConnectedOptionsT()
                builtin, kind = s.BuiltinOperator.FULLY_CONNECTED, s.BuiltinOptions.FullyConnectedOptions
            case MaxPool(size):
                options = s.Pool2DOptionsT()
                options.padding = s.Padding.VALID
                options.strideW = options.strideH = options.filterWidth = options.filterHeight = size
                builtin, kind = s.BuiltinOperator.MAX_POOL_2D, s.BuiltinOptions.Pool2DOptions
        out = net.tensor(rows_first(below) if len(below) == 3 else (1, *below), s.TensorType.INT8, [step])
        inputs = [at]
        if not isinstance(layer, MaxPool):
            sums = [step * w_scale for w_scale in scales]
            zeros = np.zeros(outputs, np.int32)
            inputs += [w, net.tensor([outputs], s.TensorType.INT32, sums, zeros)]
        net.operator(builtin, inputs, out, kind, options)
        at, shape = out, below
    net.graph.outputs = [at]
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(net.model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
