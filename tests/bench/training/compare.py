#!/usr/bin/env python3
"""Times a training step in PyTorch and in sq-train, in turn, and prints the table. See README.md beside this file.

usage: compare.py --sq-train PATH [--rounds 3] [--threads 2] [--networks lenet5,vgg7]
"""
import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import time

NETWORKS = {
    # name: (batch, image, steps)
    "lenet5": (128, (1, 28, 28), 30),
    "vgg7": (64, (3, 32, 32), 5),
}
WARM_UP = 3
GAMMA, LAMBDA, BETA, EPSILON, CLIP = 0.01, 1.0, 1.2, 0.05, 3.0


def torch_steps(network: str, threads: int) -> None:
    """Runs in a process of its own, so that its peak memory is its own; prints one line of JSON."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    batch, image, count = NETWORKS[network]

    class Quantise(torch.autograd.Function):
        @staticmethod
        def forward(ctx, w, mu, beta):
            ratio = 1.0 / (1.0 + torch.tan(beta))
            level = torch.sign(w)
            if ratio.item() >= EPSILON:
                level = level * (w.abs() > ratio * mu)
            ctx.save_for_backward(w, mu, level)
            return mu * level

        @staticmethod
        def backward(ctx, grad):
            w, mu, level = ctx.saved_tensors
            return grad * (w.abs() <= CLIP * mu), (grad * level).sum().reshape(1), None

    class Quantised(nn.Module):
        """A convolution (kernel given) or a dense layer under Smart Quantization."""

        def __init__(self, inputs, outputs, kernel=None, pad=0, bias=False):
            super().__init__()
            shape = (outputs, inputs) if kernel is None else (outputs, inputs, kernel, kernel)
            bound = 1.0 / math.sqrt(math.prod(shape[1:]))
            self.weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
            self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
            self.mu = nn.Parameter(self.weight.detach().abs().mean().reshape(1))
            self.beta = nn.Parameter(torch.tensor([BETA]))
            self.pad = pad

        def forward(self, x):
            q = Quantise.apply(self.weight, self.mu, self.beta)
            if self.weight.dim() == 2:
                return F.linear(x, q, self.bias)
            return F.conv2d(x, q, self.bias, padding=self.pad)

        def penalty(self):
            a = self.weight.abs()
            wells = torch.minimum((a - self.mu).abs(), torch.tan(self.beta) * a).mean()
            return LAMBDA * (wells + GAMMA / torch.tan(self.beta).abs())

        @torch.no_grad()
        def project(self):
            self.mu.clamp_(min=1e-4)
            self.beta.clamp_(math.pi / 4, math.pi / 2 - 1e-3)

    if network == "lenet5":
        layers = []
        for inputs, outputs in ((1, 32), (32, 64)):
            layers += [Quantised(inputs, outputs, 5), nn.BatchNorm2d(outputs), nn.MaxPool2d(2), nn.ReLU()]
        layers += [nn.Flatten(), Quantised(1024, 512), nn.BatchNorm1d(512), nn.ReLU(), Quantised(512, 10, bias=True)]
    else:
        layers, inputs = [], 3
        for outputs in (128, 256, 512):
            layers += [Quantised(inputs, outputs, 3, 1), nn.BatchNorm2d(outputs), nn.ReLU()]
            layers += [Quantised(outputs, outputs, 3, 1), nn.BatchNorm2d(outputs), nn.MaxPool2d(2), nn.ReLU()]
            inputs = outputs
        layers += [nn.Flatten(), Quantised(8192, 1024), nn.BatchNorm1d(1024), nn.ReLU(), Quantised(1024, 10, bias=True)]
    model = nn.Sequential(*layers)
    quantised = [layer for layer in layers if isinstance(layer, Quantised)]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    pixels = torch.randint(0, 256, (512, *image), dtype=torch.uint8)
    labels = torch.randint(0, 10, (512,))

    times = []
    for step in range(WARM_UP + count):
        at = [(step * batch + i) % 512 for i in range(batch)]
        start = time.perf_counter()
        x, y = pixels[at].float() / 255.0, labels[at]
        loss = F.cross_entropy(model(x), y)
        (loss + sum(layer.penalty() for layer in quantised)).backward()
        optimizer.step()
        optimizer.zero_grad()
        for layer in quantised:
            layer.project()
        value = loss.item()
        times.append(1e3 * (time.perf_counter() - start))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    timed = times[WARM_UP:]
    print(json.dumps({"median_ms": statistics.median(timed), "min_ms": min(timed), "peak_mib": peak, "loss": value}))


def sq_train_steps(binary: str, network: str) -> list:
    batch, image, count = NETWORKS[network]
    shape = "x".join(map(str, image))
    flags = ["--gamma", GAMMA, "--lambda", LAMBDA, "--beta", BETA, "--epsilon", EPSILON]
    return [binary, "bench", "--arch", network, "--batch", batch, "--image", shape, "--count", count, *flags]


def run(command: list, threads: int) -> dict:
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    words = [str(word) for word in command]
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sq-train", default="target/release/sq-train")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--networks", default="lenet5,vgg7")
    parser.add_argument("--torch-steps", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.torch_steps:
        torch_steps(args.torch_steps, args.threads)
        return
    print("network  trainer    median ms  least ms  ratio to PyTorch  peak MiB")
    for network in args.networks.split(","):
        commands = {
            "PyTorch": [sys.executable, __file__, "--torch-steps", network, "--threads", args.threads],
            "sq-train": sq_train_steps(args.sq_train, network),
        }
        rounds = [{name: run(command, args.threads) for name, command in commands.items()} for _ in range(args.rounds)]
        # The median over rounds of the medians, and the ratio of each round, whose two runs saw the same machine.
        ratios = [each["sq-train"]["median_ms"] / each["PyTorch"]["median_ms"] for each in rounds]
        for name in commands:
            middle = statistics.median(each[name]["median_ms"] for each in rounds)
            least = min(each[name]["min_ms"] for each in rounds)
            peak = max(each[name]["peak_mib"] or 0 for each in rounds)
            ratio = f"{statistics.median(ratios):.2f}" if name == "sq-train" else "1.00"
            print(f"{network:8} {name:9} {middle:10.1f} {least:9.1f} {ratio:>17} {peak:9.0f}")


if __name__ == "__main__":
    main()
