"""The command line: what it prints, writes, refuses, and how it ends."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from sslbench.bench.checkpoints import store as checkpoints
from sslbench.bench.cli import main
from sslbench.bench.plugins.discovery import ROOT
from sslbench.bench.records import record as records
from sslbench.bench.records.provenance import device_name
from sslbench.bench.run import encoder as weights, runner

SETTINGS = ("synthetic.train=200", "synthetic.test=50", "recipe.views=256", "recipe.batch_size=16")
QUICK = [word for setting in SETTINGS for word in ("--set", setting)]


@pytest.fixture
def results(tmp_path):
    """A results folder of the test's own."""
    return tmp_path / "results"


def run(results: Path, *words: str) -> int:
    """The command line with few images and steps."""
    return main([*words, *QUICK, "--results", str(results)])


def plugin(folder: Path, name: str, body: str) -> str:
    """A method file whose loss is ``body``; returns its path."""
    path = folder / f"{name}.py"
    path.write_text(
        f'"""{name}: made by a test. https://example.org"""\n\n'
        "import os, signal\nimport torch\nfrom sslbench import Method\n\n"
        f"class {name.title()}(Method):\n"
        "    def __init__(self, encoder, facts, *, size: int = 3):\n"
        "        super().__init__(encoder, facts)\n"
        "        self.head = torch.nn.Linear(encoder.dim, 1)\n"
        "        self.register_buffer('step', torch.zeros(()))\n"
        "    def loss(self, batch):\n"
        "        self.step += 1\n"
        f"{body}\n"
        "        return (self.head(self.encoder(batch.images)) - torch.rand(())).square().mean()\n"
    )
    return str(path)


def test_prints_saves_and_does_not_measure_twice(results, capsys, monkeypatch):
    """One command prints the table and names its files; the second run measures nothing and prints the same table."""
    assert run(results, "--methods", "random,rotnet", "--protocol", "linear,knn", "--set", "knn.k=20") == 0
    first = capsys.readouterr().out
    assert "random (floor)" in first
    assert "rotnet" in first
    kinds = {path.suffix for path in results.rglob("*") if path.is_file()}
    assert kinds == {".json", ".npz", ".webp", ".md", ".csv", ".tex", ".html", ".png", ".svg"}
    for path in re.findall(r"^(?:tables|figures) +(\S+)$", first, re.MULTILINE):
        assert Path(path).is_file()

    monkeypatch.setattr(runner, "run", None)
    assert run(results, "--methods", "random,rotnet", "--protocol", "linear,knn", "--set", "knn.k=20") == 0
    assert capsys.readouterr().out == first


def test_record_says_how_to_measure_it_again(results):
    """A record carries every effective setting, the source of its weights, its cost and where it was made."""
    assert (
        run(results, "--methods", "moco", "--protocol", "knn", "--set", "knn.k=20", "--set", "moco.negatives=64") == 0
    )
    (record,), damaged = records.read_all(results / "records")
    assert not damaged
    assert record["settings"]["method"]["negatives"] == 64
    assert record["settings"]["recipe"]["views"] == 256
    assert record["deviations"].keys() == {"negatives", "momentum", "temperature", "groups"}
    assert record["source"]["kind"] == "pretrained"
    assert record["settings"]["pretrain_dataset"] == record["settings"]["dataset"]
    assert record["settings"]["dataset"]["source"] == "synthetic"
    assert record["settings"]["dataset"]["test"] == 50
    assert record["source"]["commit"] == record["provenance"]["commit"]
    assert record["source"]["device"] == record["provenance"]["device"]
    assert record["provenance"]["precision"] in ("fp32", "bf16")
    assert record["provenance"]["versions"].keys() == {"python", "torch", "torchvision", "timm", "numpy", "scipy"}
    assert record["cost"]["pretrain_flops"] > 1e9
    assert record["cost"]["extract_flops"] > 1e9
    assert record["cost"]["peak_memory_bytes"] > 1e8
    assert {number["metric"] for number in record["metrics"]} == {"accuracy", "macro_accuracy"}
    assert record["card"]["k"] == [20]
    assert len(records.read_predictions(results / "records", record)["labels"]) == 50


def test_only_what_changed_is_measured(results, monkeypatch):
    """Another protocol setting is a new cell on the same encoder, which is taken from the cache."""
    words = ["--methods", "rotnet", "--protocol", "knn", "--seeds", "7"]
    assert run(results, *words, "--set", "knn.k=20") == 0
    monkeypatch.setattr(weights, "pretrain", None)
    assert run(results, *words, "--set", "knn.k=10") == 0
    found, _ = records.read_all(results / "records")
    assert sorted(record["settings"]["protocol"]["k"] for record in found) == [[10], [20]]
    assert {record["source"]["kind"] for record in found} == {"pretrained", "cached"}


OWN = ["--methods", "random", "--dataset", "folder", "--data-dir"]
BAD = {
    "no such method": (["--methods", "moca"], ["moca", "Did you mean 'moco'?"]),
    "no such protocol": (["--methods", "moco", "--protocol", "liner"], ["liner", "Did you mean 'linear'?"]),
    "no such data set": (["--methods", "moco", "--dataset", "cifar"], ["cifar", "cifar10"]),
    "no such data set to pretrain on": (
        ["--methods", "moco", "--pretrain-dataset", "fodler"],
        ["--pretrain-dataset", "fodler", "Did you mean 'folder'?"],
    ),
    "no such encoder": (["--methods", "moco", "--encoder", "resnet19"], ["resnet19", "resnet18"]),
    "no such tap": (["--methods", "random", "--taps", "conv6"], ["conv6", "conv5"]),
    "no such preset": (["--methods", "moco", "--preset", "smal"], ["smal", "small"]),
    "no such option": (["--methods", "moco", "--protocl", "knn"], ["--protocl", "--protocol"]),
    "no such method to show": (["show", "rotnt"], ["rotnt", "Did you mean 'rotnet'?"]),
    "all methods to show": (["show", "all"], ["'all'"]),
    "no method to show": (["show"], ["METHOD"]),
    "nothing to show": (["show", "random"], ["random", "no pretext task"]),
    "no row to show": (["show", "rotnet", "--images", "0"], ["--images", "1 to 32"]),
    "a picture that is none": (["show", "rotnet", "--out", "x.jpg"], ["--out x.jpg", ".png"]),
    "a picture that cannot be written": (
        ["show", "rotnet", "--out", f"{ROOT}/run_bench.py/x.png"],
        ["--out", "written"],
    ),
    "no such verb": (["lst"], ["lst", "list"]),
    "no such setting": (["--methods", "moco", "--set", "moco.temprature=1"], ["temprature", "temperature"]),
    "setting without value": (["--methods", "moco", "--set", "moco.temperature"], ["plugin.key=value"]),
    "setting of another type": (["--methods", "moco", "--set", "moco.negatives=many"], ["many", "int"]),
    "setting out of range": (["--methods", "moco", "--set", "moco.temperature=0"], ["moco.temperature", "above 0"]),
    "setting of what does not run": (["--methods", "random", "--set", "moco.dim=8"], ["moco", "does not run"]),
    "setting not among the choices": (["--methods", "random", "--set", "linear.head=tree"], ["tree", "mlp"]),
    "no step at all": (["--methods", "moco", "--set", "recipe.views=0"], ["recipe.views", "at least 1"]),
    "batch of one": (["--methods", "moco", "--set", "recipe.batch_size=1"], ["recipe.batch_size", "at least 2"]),
    "rate below zero": (["--methods", "moco", "--set", "recipe.learning_rate=-1"], ["recipe.learning_rate"]),
    "no method named": (["--methods", ","], ["--methods", "names nothing"]),
    "no tap named": (["--methods", "random", "--taps", ","], ["--taps", "names nothing"]),
    "variant of an encoder without": (["--methods", "random", "--encoder", "convnet/big"], ["convnet/big", "variants"]),
    "no such variant": (
        ["--methods", "instdisc", "--protocol", "negatives", "--variant", "batch=16"],
        ["--variant batch=16", "negatives=16"],
    ),
    "fewer images than a variant's batch": (
        ["--methods", "simclr", "--protocol", "negatives", *QUICK],
        ["200", "256", "leave batch=256 out", "--variant"],
    ),
    "more clusters than images": (
        ["--methods", "moco", "--protocol", "negatives", *QUICK, "--set", "negatives.above=21"],
        ["negatives.above = 21", "210 clusters", "200 train images"],
    ),
    "no such network of timm": (["--methods", "random", "--encoder", "timm/resnet19"], ["resnet19", "resnet18"]),
    "seed too large": (["--methods", "random", "--seeds", "4294967296"], ["--seeds", "2147483648"]),
    "pretrain directory alone": (["--methods", "moco", "--pretrain-data-dir", "x"], ["--pretrain-dataset"]),
    "tiles too small": (["--methods", "jigsaw", "--encoder", "alexnet", "--image-size", "64"], ["jigsaw", "alexnet"]),
    "methods forgotten": (["--protocol", "knn"], ["--methods"]),
    "seeds that are no numbers": (["--methods", "random", "--seeds", "a"], ["--seeds", "0,1,2"]),
    "directory for data without one": (["--methods", "random", "--data-dir", "x"], ["--data-dir", "--dataset folder"]),
    "no directory for a folder": (["--methods", "random", "--dataset", "folder"], ["--data-dir"]),
    "no such directory": (["--methods", "random", "--dataset", "folder", "--data-dir", "nowhere"], ["nowhere"]),
    "empty directory": ([*OWN, "{here}/empty"], ["empty", "no folders", "train/<class>/"]),
    "directory without a train split": ([*OWN, "{here}/untrained"], ["untrained", "no train split"]),
    "directory of one class": ([*OWN, "{here}/alike"], ["alike", "only one class (a)"]),
    "class that is only in test": ([*OWN, "{here}/strange"], ["strange", "'c'"]),
    "picture that cannot be read": (
        [*OWN, "{here}/broken"],
        ["broken", "1 picture cannot be read", "train/a/0.png", "--skip-unreadable"],
    ),
    "large picture that cannot be read": (
        [*OWN, "{here}/broken", "--image-size", "100"],
        ["1 picture cannot be read", "train/a/0.png", "--skip-unreadable"],
    ),
    "picture to pretrain on that cannot be read": (
        [
            *("--methods", "random,rotnet", "--pretrain-dataset", "folder", "--pretrain-data-dir", "{here}/broken"),
            *("--image-size", "100", *QUICK, "--set", "recipe.batch_size=2"),
        ],
        ["1 picture cannot be read", "train/a/0.png", "--skip-unreadable"],
    ),
    "fewer images than a batch": (["--methods", "rotnet", *QUICK, "--set", "recipe.batch_size=300"], ["200", "300"]),
    "fewer images than neighbours": (
        ["--methods", "random", "--protocol", "knn", *QUICK, "--set", "knn.k=500"],
        ["500", "200"],
    ),
    "more labels than a class has": (
        ["--methods", "random", "--protocol", "fewlabels", *QUICK, "--set", "fewlabels.labels=10,500"],
        ["fewlabels.labels = 500", "only 20", "fewlabels.labels=10 fits"],
    ),
    "no such way to learn": (
        ["--methods", "random", "--protocol", "fewlabels", "--set", "fewlabels.ways=frozen,thawed"],
        ["fewlabels.ways=frozen,thawed", "scratch"],
    ),
    "no such checkpoint": (["--methods", "rotnet", "--checkpoint", "rotnet=none.pt"], ["none.pt"]),
    "checkpoint of what does not run": (["--methods", "rotnet", "--checkpoint", "moco=x.pt"], ["moco"]),
    "truncated checkpoint": (
        ["--methods", "rotnet", "--checkpoint", "rotnet={here}/cut.safetensors"],
        ["cut.safetensors", "truncated"],
    ),
    "checkpoint with code in it": (
        ["--methods", "rotnet", "--checkpoint", "rotnet={here}/code.pt"],
        ["code.pt", "code"],
    ),
    "checkpoint without a method": (["--methods", "rotnet", "--checkpoint", "x.pt"], ["method=file"]),
    "no such plugin file": (["--methods", "rotnet", "--plugin", "none.py"], ["none.py"]),
    "no such device": (["--methods", "random", "--device", "tpu9"], ["tpu9", "--device cpu"]),
    "image too small for the encoder": (["--methods", "random", "--encoder", "alexnet"], ["alexnet", "63"]),
}
if not torch.cuda.is_available():
    BAD["no GPU"] = (["--methods", "random", "--device", "cuda"], ["--device cuda", "--device cpu"])


class Code:
    """Pickled, it is code that runs when it is read."""

    def __reduce__(self):
        return os.system, ("true",)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder of data and checkpoints that cannot be used, each in its own way."""
    root = tmp_path_factory.mktemp("bad")
    for name in ("untrained", "alike", "strange", "broken"):
        for split in ("train", "test"):
            for label in "ab":
                (root / name / split / label).mkdir(parents=True)
                for n in range(4):
                    Image.new("RGB", (16, 16), (60 * n, 0, 0)).save(root / name / split / label / f"{n}.png")
    (root / "empty").mkdir()
    (root / "untrained" / "train").rename(root / "untrained" / "training")
    for split in ("train", "test"):
        shutil.rmtree(root / "alike" / split / "b")
    (root / "strange" / "test" / "b").rename(root / "strange" / "test" / "c")
    picture = root / "broken" / "train" / "a" / "0.png"
    picture.write_bytes(picture.read_bytes()[:40])
    (root / "cut.safetensors").write_bytes(next(checkpoints.BUNDLE.glob("*.safetensors")).read_bytes()[:-100])
    torch.save({"state_dict": Code()}, root / "code.pt")
    return root


@pytest.mark.parametrize(("words", "told"), BAD.values(), ids=BAD)
def test_mistakes_are_told_in_one_line_before_any_work(words, told, here, results, capsys, monkeypatch):
    """A mistake ends with exit code 2 and one line that names the thing and the mend; no work is done."""
    monkeypatch.setattr(runner, "encoder_of", None)
    words = [word.replace("{here}", str(here)) for word in words]
    assert main([*words, "--results", str(results)] if words != ["lst"] else words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    for part in told:
        assert part in error


def test_pictures_that_cannot_be_read_are_left_out_when_asked_to(here, results):
    """With --skip-unreadable the run goes on without them, and the card says how many images are left."""
    words = [*OWN, str(here / "broken"), "--protocol", "knn", "--set", "knn.k=2", "--results", str(results)]
    assert main([*words, "--skip-unreadable"]) == 0
    (record,), _ = records.read_all(results / "records")
    assert (record["card"]["train_images"], record["card"]["test_images"]) == (7, 8)


def test_results_that_cannot_be_written(tmp_path, capsys):
    """A results folder that is a file is refused before any work."""
    (tmp_path / "taken").write_text("")
    assert run(tmp_path / "taken", "--methods", "random") == 2
    assert "--results" in capsys.readouterr().err


def test_checkpoint_of_another_shape_is_refused(tmp_path, results, capsys):
    """Weights that do not fit are refused before any work, with what is missing."""
    assert run(results, "--methods", "rotnet", "--protocol", "knn", "--set", "knn.k=20") == 0
    (record,), _ = records.read_all(results / "records")
    file = checkpoints.cached(record["identity"]["recipe"])
    words = ["--methods", "rotnet", "--protocol", "knn", "--set", "knn.k=20", "--checkpoint", f"rotnet={file}"]
    capsys.readouterr()
    assert run(results, *words, "--encoder", "nin", "--taps", "conv2") == 2
    assert "do not fit the encoder" in capsys.readouterr().err
    assert run(results, *words) == 0


def test_diverged_loss_is_a_failed_cell_and_the_others_go_on(tmp_path, results, capsys):
    """A loss that turns nan ends with exit code 1 and a failed record naming the step; the rest is measured."""
    file = plugin(tmp_path, "broken", "        if self.step == 4: return self.head.weight.sum() * float('nan')")
    words = ["--plugin", file, "--methods", "broken,random", "--protocol", "knn", "--set", "knn.k=20"]
    assert run(results, *words) == 1
    found, _ = records.read_all(results / "records")
    assert {record["cell"]["method"]: record["status"] for record in found} == {"broken": "failed", "random": "ok"}
    assert "step 4" in next(record["error"] for record in found if record["status"] == "failed")
    assert "failed" in capsys.readouterr().out


def test_interrupted_pretraining_goes_on_bit_for_bit(tmp_path, results, capsys, monkeypatch):
    """Ctrl-C in a pretraining exits with 130; the same command goes on and ends as if never stopped."""
    words = ["--protocol", "knn", "--set", "knn.k=20"]
    stop = "        if self.step == 6 and os.environ.get('STOP'): os.kill(os.getpid(), signal.SIGINT)"
    words = ["--plugin", plugin(tmp_path, "pausing", stop), "--methods", "pausing", *words]
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path / "never"))
    assert run(results, *words) == 0
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path / "stopped"))
    monkeypatch.setenv("STOP", "1")
    assert run(results, *words, "--overwrite") == 130
    assert "goes on from here" in capsys.readouterr().err
    assert list((tmp_path / "stopped" / "encoders").glob("*.partial"))
    monkeypatch.delenv("STOP")
    assert run(results, *words, "--overwrite") == 0
    never, stopped = (sorted((tmp_path / name / "encoders").glob("*.safetensors")) for name in ("never", "stopped"))
    assert [file.name for file in never] == [file.name for file in stopped]
    assert len(never) == 2, "the encoder and its heads"
    for one, other in zip(never, stopped, strict=True):
        once, again = (checkpoints.tensors_in(file)[0] for file in (one, other))
        assert all((once[name] == again[name]).all() for name in once)


def test_killed_while_writing_a_record_a_run_loses_that_cell_alone(results):
    """SIGKILL at the worst moment leaves the cells before, whole and readable, and the next run measures the rest."""
    words = ["--methods", "random", "--protocol", "knn,linear", "--set", "knn.k=20", *QUICK, "--results", str(results)]
    code = (
        "import os, signal, sys\nfrom sslbench.bench.cli import main\nreplace = os.replace\n"
        "def deadly(part, whole):\n"
        "    if '-linear-' in str(whole) and str(whole).endswith('.json'): os.kill(os.getpid(), signal.SIGKILL)\n"
        f"    replace(part, whole)\nos.replace = deadly\nmain({words!r})\n"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == -signal.SIGKILL
    (before,), damaged = records.read_all(results / "records")
    assert (before["cell"]["protocol"], damaged) == ("knn", [])
    assert main(words) == 0
    after = {record["cell"]["protocol"]: record for record in records.read_all(results / "records")[0]}
    assert after.keys() == {"knn", "linear"}
    assert after["knn"]["provenance"] == before["provenance"]


def test_report_names_a_damaged_record_and_goes_on(results, capsys):
    """A record cut short is skipped with its name and the reason; the others are reported."""
    (whole,) = (ROOT / "results" / "baseline" / "records").glob("*-random-knn-*.json")
    shutil.copytree(whole.parent, results / "records", ignore=lambda _, names: {n for n in names if "-knn-" not in n})
    damaged = next((results / "records").glob("*-moco-knn-*.json"))
    damaged.write_bytes(damaged.read_bytes()[:500])
    assert main(["report", "--results", str(results)]) == 0
    told = capsys.readouterr()
    assert told.err.startswith(f"skipped: {damaged}: not whole JSON")
    assert told.err.count("\n") == 1
    assert "random (floor)" in told.out
    assert "moco" not in told.out


def test_dry_run_shows_cells_and_does_nothing(results, capsys):
    """--dry-run prints each cell, its state and the disk it would take, and writes nothing."""
    assert run(results, "--methods", "random,rotnet", "--seeds", "0,1", "--dry-run") == 0
    out = capsys.readouterr().out
    assert out.count("rotnet") == 2
    assert "untrained" in out
    assert "MB" in out
    assert not results.exists()


def test_dry_run_tells_the_minutes_of_what_is_left(results, capsys, monkeypatch):
    """Scaled by views and images from the median of the nearest runs: this device, then the method or the settings."""
    (whole,) = (ROOT / "results" / "baseline" / "records").glob("*-random-knn-*.json")

    def ran(method, protocol, pretrain, extract, probe, device="", **settings):
        """A record of 2,000 and 500 images at 1,000 views that took so many seconds."""
        made = records.read(whole)
        made["cell"] |= {"method": method, "protocol": protocol}
        made["settings"]["protocol"] = {"taps": ["conv4", "conv5"]} | settings
        made["card"] |= {"train_images": 2000, "test_images": 500}
        made["cost"] |= {"pretrain_seconds": pretrain, "pretrain_views": 1000}
        made["cost"] |= {"extract_seconds": extract, "probe_seconds": probe}
        made["provenance"]["device"] = device or device_name(torch.device("cpu"))
        return made

    asked = {"k": [20], "temperature": [0.07]}
    past = [
        ran("rotnet", "knn", 6000, 600, 1200, **asked),
        ran("rotnet", "knn", 6000, 600, 99999, **asked | {"k": [5]}),
        ran("rotnet", "knn", 99999, 99999, 99999, device="another", **asked),
        ran("moco", "linear", 99999, 1200, 300),
        ran("moco", "linear", 99999, 1200, 300),
    ]
    monkeypatch.setattr("sslbench.bench.cli.dry_run.gathered", lambda folder: (past, []))
    words = ["--protocol", "knn,linear", "--set", "knn.k=20", "--device", "cpu", "--dry-run"]
    assert run(results, "--methods", "rotnet,random", *words, "--set", "convnet.width=8") == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if line.startswith(("rotnet", "random"))]
    pretrain, extract, knn, linear = 6000 * 256 / 1000, (600 + 1200) / 2 / 10, 1200 / 10, 300 / 10
    seconds = [pretrain + extract + knn, linear, extract + knn, linear]
    assert [row[-1] for row in rows] == [f"{part / 60:.1f}" for part in seconds]
    assert f"About {sum(seconds) / 60:.1f} minutes, " in out
    assert "?" not in out

    past[3:] = []
    assert run(results, "--methods", "rotnet", *words, "--set", "convnet.width=8") == 0
    out = capsys.readouterr().out
    assert [line.split()[-1] for line in out.splitlines() if line.startswith("rotnet")] == ["28.6", "?"]
    assert "?: no such run was timed yet.\nAbout 28.6 + ? minutes, " in out
    assert run(results, "--methods", "rotnet", *words, "--set", "convnet.width=4") == 0
    assert "About ? minutes, " in capsys.readouterr().out


def test_dry_run_names_rows_as_they_were_asked_for(results, capsys):
    """A checkpoint by its word, an ablation's encoders by their variants."""
    words = ["--methods", "moco@v2_800ep,rotnet", "--protocol", "linear,rotations", "--dry-run"]
    assert run(results, *words) == 0
    lines = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert "moco@v2_800ep" in lines
    assert {"rotnet", "rotnet (0,180)", "rotnet (90,270)"} <= set(lines)


@pytest.mark.parametrize("words", [["--help"], ["list"], ["list", "moco"], ["show", "--help"], ["compare", "--help"]])
def test_answers_without_torch(words):
    """--help and list import no torch, pandas or numpy."""
    code = (
        "import sys\nfrom sslbench.bench.cli import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'pandas', 'numpy', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


def test_readme_plugins_run_as_printed(tmp_path, results, capsys):
    """The README's method and protocol, copied out of it, run from outside the repository."""
    blocks = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    files = []
    for name, code in blocks:
        (tmp_path / name).write_text(code)
        files += ["--plugin", str(tmp_path / name)]
    assert [name for name, _ in blocks] == ["sharpness.py", "spread.py"]
    words = ["--methods", "sharpness,random", "--protocol", "spread", "--set", "sharpness.size=5"]
    assert run(results, *files, *words) == 0
    out = capsys.readouterr().out
    assert "effective_rank" in out
    assert "sharpness" in out


def test_the_floor_of_one_preset_is_the_floor_of_another(results, capsys):
    """An untrained encoder has no budget: measured under one preset, it stands in the table of another."""
    assert run(results, "--methods", "random", "--protocol", "knn", "--set", "knn.k=20", "--preset", "smoke") == 0
    capsys.readouterr()
    assert run(results, "--methods", "rotnet", "--protocol", "knn", "--set", "knn.k=20", "--preset", "small") == 0
    out = capsys.readouterr().out
    assert out.count("knn: accuracy") == 1
    assert "random (floor)" in out


def test_a_tap_named_twice_is_one_tap(results, capsys):
    """Naming a tap twice does not make two measurements of one."""
    words = ["--methods", "random", "--protocol", "knn", "--set", "knn.k=20"]
    assert run(results, *words, "--taps", "conv4,conv4") == 0
    (record,), _ = records.read_all(results / "records")
    assert record["card"]["taps"] == ["conv4"]
    assert "over seeds" not in capsys.readouterr().out


def test_one_file_for_two_methods_is_two_cells(results):
    """Weights from a file are a cell for each method they are given to, and one for all seeds."""
    words = ["--protocol", "knn", "--set", "knn.k=20"]
    assert run(results, "--methods", "rotnet", *words) == 0
    (record,), _ = records.read_all(results / "records")
    file = checkpoints.cached(record["identity"]["recipe"])
    given = [f"--checkpoint=rotnet={file}", f"--checkpoint=moco={file}"]
    assert run(results, "--methods", "rotnet,moco", "--seeds", "0,1", *words, *given) == 0
    found = [
        record["cell"] for record in records.read_all(results / "records")[0] if record["source"]["kind"] == "file"
    ]
    assert sorted((cell["method"], cell["seed"]) for cell in found) == [("moco", 0), ("rotnet", 0)]


def test_an_edited_plugin_is_measured_anew(tmp_path, results):
    """The code of a file given by --plugin is part of the key, since it changes between two runs."""
    for body in ("        pass", "        self.step += 0"):
        file = plugin(tmp_path, "edited", body)
        assert run(results, "--plugin", file, "--methods", "edited", "--protocol", "knn", "--set", "knn.k=20") == 0
    assert len(records.read_all(results / "records")[0]) == 2


def test_a_protocol_that_breaks_is_a_failed_cell(results, monkeypatch):
    """An error while probing is recorded with its reason, and the other protocol is measured."""
    monkeypatch.setattr("sslbench.bench.evaluation.probes.knn", lambda *a, **k: 1 / 0)
    assert run(results, "--methods", "random", "--protocol", "knn,linear", "--set", "knn.k=20") == 1
    found = {record["cell"]["protocol"]: record for record in records.read_all(results / "records")[0]}
    assert found["linear"]["status"] == "ok"
    assert found["knn"]["error"] == "ZeroDivisionError: division by zero"


def test_pretrain_makes_an_encoder_that_a_fresh_machine_finds_bundled(results, tmp_path, capsys, monkeypatch):
    """`pretrain --bundle` keeps the encoder with the project; with an empty cache the next run takes it from there."""
    monkeypatch.setattr(checkpoints, "BUNDLE", tmp_path / "bundle")
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path / "first"))
    assert run(results, "pretrain", "--methods", "rotnet,random", "--seeds", "11", "--bundle") == 0
    assert "rotnet  seed 11  pretrained" in capsys.readouterr().out
    (name,) = checkpoints.manifest()
    assert len(checkpoints.manifest()[name]["sha256"]) == 64
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path / "second"))
    assert run(results, "--methods", "rotnet", "--protocol", "knn", "--set", "knn.k=20", "--seeds", "11") == 0
    (record,), _ = records.read_all(results / "records")
    assert record["source"]["kind"] == "bundled"
    assert record["source"]["sha256"] == checkpoints.manifest()[name]["sha256"]
