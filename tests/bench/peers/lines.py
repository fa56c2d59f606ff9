"""The lines of `sqc synth`, as far as the peers need them."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Conv:
    outputs: int
    kernel: int
    stride: int
    pad: int


@dataclass(frozen=True)
class Dense:
    outputs: int


@dataclass(frozen=True)
class MaxPool:
    size: int


@dataclass(frozen=True)
class Line:
    sample: tuple[int, ...]  # [channels, rows, columns], or [features]
    layers: tuple[Conv | Dense | MaxPool, ...]

    def macs(self) -> int:
        """Dense multiply-adds of one sample."""
        return sum(weights * product(below[1:]) for weights, below in self._layers())

    def weights(self) -> int:
        """Number of weights."""
        return sum(weights for weights, _ in self._layers())

    def _layers(self):
        """Number of weights of every layer, and the shape behind it."""
        shape = self.sample
        for layer in self.layers:
            below = after(layer, shape)
            match layer:
                case Conv(outputs, kernel, _, _):
                    yield outputs * shape[0] * kernel * kernel, below
                case Dense(outputs):
                    yield outputs * product(shape), below
            shape = below

    def repeated(self, times: int) -> "Line":
        """The same layers one after the other; they yield what they read."""
        return Line(self.sample, self.layers * times)

    def repeats(self) -> bool:
        """Whether `repeated` makes sense."""
        shape = self.sample
        for layer in self.layers:
            shape = after(layer, shape)
        return shape == self.sample


def product(numbers) -> int:
    total = 1
    for n in numbers:
        total *= n
    return total


def after(layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape behind a layer."""
    match layer:
        case Conv(outputs, kernel, stride, pad):
            return (outputs, *((n + 2 * pad - kernel) // stride + 1 for n in shape[1:]))
        case MaxPool(size):
            return (shape[0], *(n // size for n in shape[1:]))
        case Dense(outputs):
            return (outputs,)


def parse(text: str) -> Line:
    """A line without depthwise layers; what it says of weights and activations is left out."""
    sample, *parts = [p for p in re.split("[ -]", text) if p and "=" not in p]
    layers = []
    for part in parts:
        if m := re.fullmatch(r"(\d+)FC", part):
            layers.append(Dense(int(m[1])))
        elif m := re.fullmatch(r"MP(\d+)", part):
            layers.append(MaxPool(int(m[1])))
        elif m := re.fullmatch(r"(\d+)C(\d+)(?:s(\d+))?(?:p(\d+))?", part):
            kernel = int(m[2])
            layers.append(Conv(int(m[1]), kernel, int(m[3] or 1), int(m[4]) if m[4] else kernel // 2))
        else:
            raise ValueError(f"no peer knows `{part}`")
    return Line(tuple(int(n) for n in sample.split("x")), tuple(layers))
