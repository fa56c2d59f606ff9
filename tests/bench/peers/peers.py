"""Runs other engines and us on the same shapes, on one thread, in alternating rounds, and prints one Markdown table.

A round of an engine is as many operations as fit into 5 ms or more; the figure is the median over the rounds. Our layers are
timed as they run in the midst of a network: they read what the layer before leaves and write what the next one reads, packed,
with thresholds or requantisation. A peer's layer is timed both alone and as one of eight equal layers in a network (a share of
the whole), which spares it the conversion of its input's and its result's order; the better figure counts.
"""

import argparse
import datetime
import json
import os
import statistics
import struct
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import ai_edge_litert.interpreter as litert
import numpy as np
import onnxruntime as ort

import litert_models
import onnx_models
from lines import Line, parse

TARGET = Path(os.environ["CARGO_TARGET_DIR"]) / "release"
PEERS = Path(os.environ["PEERS_DIR"])
SECONDS = 0.005

VGG7 = "3x32x32 128C3-128C3-MP2-256C3-256C3-MP2-512C3-512C3-MP2-1024FC-10FC"
CONV_PEERS = ["ORT int8", "ORT fp32", "LiteRT int8"]


@dataclass
class Workload:
    name: str
    line: str
    peers: list[str]
    network: bool = False


WORKLOADS = [
    Workload("binary x binary conv 3x3, 64 ch, 56x56", "64x56x56 64C3 w=binary x=binary", CONV_PEERS),
    Workload("binary x binary conv 3x3, 256 ch, 14x14", "256x14x14 256C3 w=binary x=binary", CONV_PEERS),
    Workload("binary x ternary conv 3x3, 64 ch, 56x56", "64x56x56 64C3 w=binary x=ternary", CONV_PEERS),
    Workload("ternary x ternary conv 3x3, 64 ch, 56x56", "64x56x56 64C3 w=ternary x=ternary", CONV_PEERS),
    Workload("binary x int8 conv 3x3, 64 ch, 56x56", "64x56x56 64C3 w=binary x=int8", CONV_PEERS),
    Workload("ternary x int8 conv 3x3, 64 ch, 56x56", "64x56x56 64C3 w=ternary x=int8", CONV_PEERS),
    Workload("binary x int8 conv 3x3, 256 ch, 14x14", "256x14x14 256C3 w=binary x=int8", CONV_PEERS),
    Workload("ternary x int8 conv 3x3, 256 ch, 14x14", "256x14x14 256C3 w=ternary x=int8", CONV_PEERS),
    Workload("ternary x int8 dense 1024x1024", "1024 1024FC w=ternary x=int8", ["ggml TQ2_0", "ORT int8", "LiteRT int8"]),
    Workload("ternary x int8 dense 4096x4096", "4096 4096FC w=ternary x=int8", ["ggml TQ2_0", "ORT int8", "LiteRT int8"]),
    Workload("binary x int8 dense 1024x1024", "1024 1024FC w=binary x=int8", ["ggml Q1_0", "ORT int8", "LiteRT int8"]),
    Workload("VGG-7, int8 activations", f"{VGG7} w=ternary x=int8", [*CONV_PEERS, "tract f32"], network=True),
    Workload("VGG-7, binary activations", f"{VGG7} w=binary x=binary", [*CONV_PEERS, "tract f32"], network=True),
]


class Program:
    """A program that answers every line of input with nanoseconds."""

    def __init__(self, *command: str | Path):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self) -> str:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.process.args} ended")
        return answer

    def round(self) -> float:
        return float(self.ask()) * 1e-9

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait()


class Calls:
    """A function of this process, called for 5 ms or more."""

    def __init__(self, call, share: int = 1):
        self.call, self.share = call, share
        call()

    def round(self) -> float:
        start, calls = time.perf_counter(), 0
        while (taken := time.perf_counter() - start) < SECONDS:
            self.call()
            calls += 1
        return taken / calls / self.share

    def end(self) -> None:
        pass


class Best:
    """Forms of one operation that take turns; the fastest counts. `weights` is the number of bytes that its weights take."""

    def __init__(self, forms, weights: float):
        self.forms = forms
        self.weights = round(weights)
        self.times = [[] for _ in forms]

    def round(self) -> None:
        for form, times in zip(self.forms, self.times):
            times.append(form.round())

    def times_of_best(self, statistic) -> list[float]:
        return min(self.times, key=statistic)

    def end(self) -> None:
        for form in self.forms:
            form.end()


def ort_calls(model: bytes, share: int) -> Calls:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    image = session.get_inputs()[0]
    element = np.float32 if image.type == "tensor(float)" else np.uint8
    binding = session.io_binding()
    binding.bind_cpu_input(image.name, (np.random.default_rng(1).random(image.shape) * 100).astype(element))
    binding.bind_output(session.get_outputs()[0].name, "cpu")
    return Calls(lambda: session.run_with_iobinding(binding), share)


def litert_calls(model: bytes, share: int) -> Calls:
    interpreter = litert.Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    image = interpreter.get_input_details()[0]
    interpreter.set_tensor(image["index"], np.random.default_rng(1).integers(-99, 99, image["shape"], dtype=np.int8))
    return Calls(interpreter.invoke, share)


def forms(workload: Workload, line: Line) -> list[tuple[Line, int]]:
    """The networks that a peer is timed in, with the number of operations in each."""
    chain = [(line.repeated(8), 8)] if not workload.network and line.repeats() else []
    return [(line, 1), *chain]


# ggml: blocks of 256 codes of 2 bits with a half-precision scale, and of 128 signs with one (ggml-common.h).
BYTES_PER_WEIGHT = {"ggml TQ2_0": 66 / 256, "ggml Q1_0": 18 / 128, "ORT int8": 1, "LiteRT int8": 1, "ORT fp32": 4, "tract f32": 4}


def peer(name: str, workload: Workload, directory: Path) -> Best:
    line = parse(workload.line)
    weights = line.weights() * BYTES_PER_WEIGHT[name]
    if name.startswith("ggml"):
        shape = [str(line.sample[0]), str(line.layers[0].outputs)]
        return Best([Program(PEERS / "ggml/build/rounds", name.split()[1].lower(), *shape)], weights)
    if name == "tract f32":
        path = directory / "float.onnx"
        path.write_bytes(onnx_models.float32(line))
        return Best([Program(TARGET / "tract_rounds", path)], weights)
    build = {
        "ORT int8": lambda line, share: ort_calls(onnx_models.int8(line), share),
        "ORT fp32": lambda line, share: ort_calls(onnx_models.float32(line), share),
        "LiteRT int8": lambda line, share: litert_calls(litert_models.int8(line), share),
    }[name]
    return Best([build(line, share) for line, share in forms(workload, line)], weights)


class Ours:
    """The program that `sqc bench --keep` built, run again for every round."""

    def __init__(self, row: dict):
        self.row = row
        self.directory = Path(row["program"]).parent
        (self.directory / "rounds.bin").write_bytes(struct.pack("<I", 1))

    def round(self) -> float:
        subprocess.run([self.row["program"]], cwd=self.directory, check=True)
        (time,) = struct.unpack("<d", (self.directory / "times.bin").read_bytes())
        return time * 1e-9

    def end(self) -> None:
        pass


def ours(workload: Workload, args, directory: Path) -> Best:
    """Rust and C; the better counts."""
    kind = "--network" if workload.network else "--layer"
    command = [TARGET / "sqc", "bench", kind, workload.line, "--target", args.target, "--optimize", "speed", "--json"]
    found = subprocess.run([*command, "--lang", args.lang, "--keep", directory], check=True, capture_output=True, text=True)
    rows = json.loads(found.stdout)["rows"]
    return Best([Ours(row) for row in rows], rows[0]["weights"])


@dataclass
class Figure:
    name: str
    weights: int
    times: list[float]

    def spread(self) -> float:
        low, median, high = statistics.quantiles(self.times, n=4)
        return (high - low) / 2 / median


def measure(workload: Workload, args) -> list[Figure]:
    with tempfile.TemporaryDirectory() as directory:
        engines = {"sqc": ours(workload, args, Path(directory))}
        engines |= {name: peer(name, workload, Path(directory)) for name in workload.peers if not args.peer or name in args.peer}
        for _ in range(args.rounds):
            for engine in engines.values():
                engine.round()
        for engine in engines.values():
            engine.end()
        best = lambda engine: engine.times_of_best(args.statistic)
        return [Figure(name, engine.weights, best(engine)) for name, engine in engines.items()]


def row(cells) -> str:
    return f"| {' | '.join(str(c) for c in cells)} |"


def cpu() -> str:
    text = Path("/proc/cpuinfo").read_text()
    value = lambda key: next((l.split(":")[1].strip() for l in text.splitlines() if l.startswith(key)), "unknown")
    flags = value("flags").split()
    sets = [s for s in ["avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_vpopcntdq", "avx512vbmi", "amx_int8"] if s in flags]
    amx = "ORT and LiteRT use AMX here" if "amx_int8" in flags else "no AMX, so no engine uses it"
    model = f"{value('model name')} (family {value('cpu family')}, model {value('model')})"
    return f"{model}: {', '.join(sets)}; {amx}"


def ceilings(rounds: int, statistic) -> list[str]:
    program = Program(TARGET / "ceiling_rounds")
    answers = [json.loads(program.ask()) for _ in range(rounds)]
    program.end()
    lines = [row(["instruction mix", "GMAC/s at most"]), "| --- | ---: |"]
    # Rates, of which the fastest round has the greatest.
    rate = lambda name: 1 / statistic([1 / a[name] for a in answers])
    return lines + [row([name, f"{rate(name):.0f}"]) for name in answers[0]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=31, help="rounds of each engine (default %(default)s)")
    parser.add_argument("--target", default="native", help="sqc's target (default %(default)s)")
    parser.add_argument("--lang", default="both", choices=["rust", "c", "both"], help="sqc's language; of both the better counts")
    parser.add_argument("--only", metavar="TEXT", help="workloads whose name or line has this in it")
    parser.add_argument("--peer", action="append", help="only this engine beside sqc; may be given more than once")
    busy = "the fastest round counts, not the median: for a machine that does other things as well"
    parser.add_argument("--busy", dest="statistic", action="store_const", const=min, default=statistics.median, help=busy)
    args = parser.parse_args()

    versions = f"ONNX Runtime {ort.__version__}, LiteRT {litert_version()}, ggml of llama-cpp-python 0.3.36, tract as in Cargo.lock"
    print(f"{datetime.date.today()}, {cpu()}. One thread. {versions}. sqc target `{args.target}`, {args.rounds} rounds{', the fastest counts' if args.statistic is min else ''}.\n")
    print(row(["workload", "engine", "weights, bytes", "µs", "±", "GMAC/s", "sqc / engine"]))
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for workload in WORKLOADS:
        if args.only and args.only not in workload.name and args.only not in workload.line:
            continue
        figures = measure(workload, args)
        macs = parse(workload.line).macs()
        for figure in figures:
            t = args.statistic(figure.times)
            ratio = "" if figure is figures[0] else f"{t / args.statistic(figures[0].times):.2f}"
            name = workload.name if figure is figures[0] else ""
            cells = [name, figure.name, f"{figure.weights:,}", f"{t * 1e6:.1f}", f"{figure.spread():.1%}", f"{macs / t * 1e-9:.1f}", ratio]
            print(row(cells), flush=True)
    print()
    print("\n".join(ceilings(args.rounds, args.statistic)))


def litert_version() -> str:
    from importlib.metadata import version

    return version("ai-edge-litert")


if __name__ == "__main__":
    main()
