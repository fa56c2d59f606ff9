"""ONNX files for the peers: int8 operators as ONNX Runtime runs them fastest, or float."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lines import Conv, Dense, Line, MaxPool, after, product


class Net:
    def __init__(self, line: Line, element: int):
        self.random = np.random.default_rng(0)
        self.nodes, self.constants = [], []
        self.at = "image"
        self.element = element
        self.shape = line.sample
        self.input = helper.make_tensor_value_info("image", element, [1, *line.sample])

    def constant(self, value: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def node(self, op: str, inputs: list[str], **attributes) -> None:
        out = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [out], **attributes))
        self.at = out

    def flatten(self) -> None:
        if len(self.shape) > 1:
            self.node("Flatten", [self.at], axis=1)
            self.shape = (product(self.shape),)

    def finish(self) -> bytes:
        output = helper.make_tensor_value_info(self.at, self.element, [1, *self.shape])
        graph = helper.make_graph(self.nodes, "peer", [self.input], [output], self.constants)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def int8(line: Line) -> bytes:
    """uint8 activations, int8 weights with a scale per output and an int32 bias: QLinearConv, MaxPool, QGemm.

    MLAS has its fastest kernels for this pair of types.
    """
    net = Net(line, TensorProto.UINT8)
    scale, zero = net.constant(np.float32(1 / 40)), net.constant(np.uint8(0))

    def weights(shape) -> list[str]:
        taps = product(shape[1:])
        codes = net.constant(net.random.integers(-127, 128, shape, dtype=np.int8))
        steps = net.constant(np.full(shape[0], 1 / (40 * taps**0.5), np.float32))
        return [codes, steps, net.constant(np.zeros(shape[0], np.int8))]

    for layer in line.layers:
        match layer:
            case Conv(outputs, kernel, stride, pad):
                w = weights((outputs, net.shape[0], kernel, kernel))
                bias = net.constant(net.random.integers(-99, 99, outputs, dtype=np.int32))
                net.node(
                    "QLinearConv",
                    [net.at, scale, zero, *w, scale, zero, bias],
                    kernel_shape=[kernel] * 2,
                    strides=[stride] * 2,
                    pads=[pad] * 4,
                )
            case MaxPool(size):
                net.node("MaxPool", [net.at], kernel_shape=[size] * 2, strides=[size] * 2)
            case Dense(outputs):
                net.flatten()
                w = weights((outputs, net.shape[0]))
                bias = net.constant(net.random.integers(-99, 99, outputs, dtype=np.int32))
                net.node("QGemm", [net.at, scale, zero, *w, bias, scale, zero], domain="com.microsoft", transB=1)
        net.shape = after(layer, net.shape)
    return net.finish()


def float32(line: Line) -> bytes:
    """Conv, Relu, MaxPool, Gemm."""
    net = Net(line, TensorProto.FLOAT)
    weight = lambda shape: (net.random.standard_normal(shape) / product(shape[1:]) ** 0.5).astype(np.float32)
    for i, layer in enumerate(line.layers):
        match layer:
            case Conv(outputs, kernel, stride, pad):
                w = net.constant(weight((outputs, net.shape[0], kernel, kernel)))
                bias = net.constant(np.zeros(outputs, np.float32))
                net.node("Conv", [net.at, w, bias], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4)
            case MaxPool(size):
                net.node("MaxPool", [net.at], kernel_shape=[size] * 2, strides=[size] * 2)
            case Dense(outputs):
                net.flatten()
                w = net.constant(weight((outputs, net.shape[0])))
                net.node("Gemm", [net.at, w, net.constant(np.zeros(outputs, np.float32))], transB=1)
        if not isinstance(layer, MaxPool) and i + 1 < len(line.layers):
            net.node("Relu", [net.at])
        net.shape = after(layer, net.shape)
    return net.finish()
