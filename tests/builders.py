"""Builders of test objects that tests of several files share."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from sslbench.bench.cli import main
from sslbench.bench.encoders import Encoder
from sslbench.bench.encoders._input_mode import encoder_for_input_mode
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.encoders.vit import ViT
from sslbench.bench.plugins.discovery import ROOT, Plugin, find_plugins, plugin_in_file


def overlapping_classes(
    images: int, features: int, classes: int = 4, *, seed: int = 0, apart: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Features (images, features) of overlapping classes, with very different scales and a common offset; labels."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, features, generator=torch.Generator().manual_seed(9)) * apart
    labels = torch.arange(images) % classes
    mixing = torch.randn(images, features, generator=generator) @ (
        torch.randn(features, features, generator=generator) / features**0.5
    )
    return (centres[labels] + 2 * mixing) * torch.logspace(-1, 1, features) + 3, labels


def encoder_for(method: Plugin, *, size: int = 32, width: int = 4) -> Encoder:
    """A narrow default encoder that sees what the method needs, or a vision transformer if the method needs patches."""
    input_mode = method.constants.get("input_mode", "colour")
    if input_mode == "patches":
        return encoder_for_input_mode(ViT, input_mode, size, {"width": 4 * width})
    return encoder_for_input_mode(ConvNet, input_mode, size, {"width": width})


def plugins_under_test(kind: str) -> dict[str, Plugin]:
    """The plugins that a contract suite checks: all, or only those in files given to pytest with ``--plugin``."""
    files = os.environ.get("SSLBENCH_TEST_PLUGINS")
    if not files:
        return find_plugins(kind)
    given = [plugin_in_file(path) for path in files.split(os.pathsep)]
    return {plugin.name: plugin for plugin in given if plugin.kind == kind}


def write_readme_plugins(folder: Path) -> list[Path]:
    """Copies the README's example plugins into files, and returns these."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    files = []
    for name, code in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", text, re.DOTALL):
        files.append(folder / name)
        files[-1].write_text(code, encoding="utf-8")
    return files


def write_method(folder: Path, name: str, body: str) -> str:
    """Writes a method whose loss begins with the statements ``body``; returns the file's path."""
    path = folder / f"{name}.py"
    path.write_text(
        f'"""{name}: made by a test. https://example.org"""\n\n'
        "import os, signal\nimport torch\nfrom sslbench import Method\n\n"
        f"class {name.title()}(Method):\n"
        "    def __init__(self, encoder, train_info, *, size: int = 3):\n"
        "        super().__init__(encoder, train_info)\n"
        "        self.head = torch.nn.Linear(encoder.dim, 1)\n"
        "        self.register_buffer('step', torch.zeros(()))\n"
        "    def loss(self, batch):\n"
        "        self.step += 1\n"
        f"{body}\n"
        "        return (self.head(self.encoder(batch.images)) - torch.rand(())).square().mean()\n"
    )
    return str(path)


QUICK_SETTINGS = ("synthetic.train=200", "synthetic.test=50", "recipe.views=256", "recipe.batch_size=16")
QUICK_OPTIONS = [word for setting in QUICK_SETTINGS for word in ("--set", setting)]


def run_quickly(results: Path, *words: str) -> int:
    """The command line with few images and steps, and without floor and ceiling; returns its exit code."""
    alone = ["--no-references"] if words[0].startswith("-") or words[0] == "run" else []
    return main([*words, *alone, *QUICK_OPTIONS, "--results", str(results)])


def balanced_assignment(scores: list[list[float]], epsilon: float, iterations: int) -> list[list[float]]:
    """Sinkhorn-Knopp in plain loops: scales columns to 1 / K and rows to 1 / B in turn, and rows to 1 at the end."""
    B, K = len(scores), len(scores[0])
    Q = [[math.exp(score / epsilon) for score in row] for row in scores]
    for _ in range(iterations):
        for k in range(K):
            total = sum(row[k] for row in Q)
            for row in Q:
                row[k] /= total * K
        Q = [[q / (sum(row) * B) for q in row] for row in Q]
    return [[q * B for q in row] for row in Q]


def save_grey_picture(path: Path, grey: int = 0, size: tuple[int, int] = (16, 16)) -> None:
    """Saves a picture of one grey, and creates its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (grey, grey, grey)).save(path)


def changed_folder(change: Callable[[Path], Any]) -> Callable[[Path], str]:
    """A function that changes a folder and returns its path, for tables of wrong layouts."""

    def apply(root: Path) -> str:
        change(root)
        return str(root)

    return apply


def empty_folder(parent: Path) -> str:
    """A path to a new empty folder."""
    (parent / "nothing").mkdir()
    return str(parent / "nothing")


def invalid_zip(parent: Path) -> str:
    """A path to a new file that is a zip archive only by its name."""
    (parent / "bad.zip").write_bytes(b"not a zip")
    return str(parent / "bad.zip")


REFUSE_WRITES = """
import errno, os, sys
NUMBER = getattr(errno, sys.argv[2])
ARGUMENT_WRITTEN_TO = {"os.rename": 1, "os.link": 1, "os.symlink": 1} | dict.fromkeys(
    ("open", "os.mkdir", "os.remove", "os.rmdir", "os.utime", "os.chmod", "os.truncate"), 0)
def refuse(event, arguments):
    if event not in ARGUMENT_WRITTEN_TO:
        return
    if event == "open" and not (set(arguments[1] or "") & set("wax+") or arguments[2] & (os.O_WRONLY | os.O_RDWR)):
        return
    path = arguments[ARGUMENT_WRITTEN_TO[event]]
    if isinstance(path, (str, os.PathLike)) and os.path.abspath(path).startswith(sys.argv[1]):
        raise OSError(NUMBER, os.strerror(NUMBER), path)
sys.addaudithook(refuse)
from sslbench.bench.cli import main
raise SystemExit(main(sys.argv[3:]))
"""


def run_without_writing_to(folder: Path, words: list[str], reason: str = "EROFS") -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, in which every change inside a folder fails for a reason of errno."""
    command = [sys.executable, "-c", REFUSE_WRITES, str(folder), reason, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
