"""What the notebooks share: installing, commands with their output in the cell, runs to go on with, pictures."""

import html
import importlib
import importlib.metadata
import io
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement

INPUT = Path(os.environ.get("VNCA_INPUT", "/kaggle/input"))  # what is attached, read-only
WORKING = Path(os.environ.get("VNCA_WORKING", "/kaggle/working"))  # what becomes the notebook's output
PROJECT = Path(__file__).parent.parent
DEPTH = 4  # folders below INPUT: datasets or notebooks/<user>/<name>/<folder of an archive>

STOPPED = 75  # the exit code of a training that has saved its state and can go on
PROGRESS_SECONDS = 30.0  # between two lines of a progress bar
PLATFORMS = {"tpu": "tpu", "cuda": "gpu"}  # as JAX calls them
FIRST_DRIVER_OF_CUDA_13 = 580
DEVICES = (
    "from vnca_jax import parallel; parallel.use_all_cores(); import jax; found = jax.devices(); "
    "print(found[0].platform, len(found), 'x', found[0].device_kind)"
)

Accelerator = Literal["tpu", "cuda", ""]


# --- installing ------------------------------------------------------------------------------------------------------


def accelerator(devices: Path = Path("/dev")) -> Accelerator:
    """What the session has, also the name of the extra that supports it; found without JAX, which may not be there."""
    if any(devices.glob("accel[0-9]*")) or any(devices.glob("vfio/[0-9]*")):
        return "tpu"
    return "cuda" if _driver() else ""


def _driver() -> int:
    """The major version of NVIDIA's driver, 0 where there is no GPU."""
    try:
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split(".")[0])
    except (OSError, subprocess.CalledProcessError, ValueError):
        return 0


def requirements(kind: Accelerator) -> tuple[list[str], list[str]]:
    """What the project needs anywhere and on such an accelerator, from its pyproject.toml.

    A GPU driver that is too old for CUDA 13 takes the JAX for CUDA 12.
    """
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"][kind] if kind else []
    if kind == "cuda" and _driver() < FIRST_DRIVER_OF_CUDA_13:
        extra = [text.replace("cuda13", "cuda12") for text in extra]
    return project["dependencies"], extra


def missing(wanted: list[str]) -> list[str]:
    """Those of `wanted` that are not installed in a version that will do, or without what their extras bring."""
    return [text for text in wanted if not _is_met(Requirement(text))]


def _is_met(requirement: Requirement) -> bool:
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    parts = [Requirement(text) for text in importlib.metadata.requires(requirement.name) or []]
    brought = [
        part for part in parts for extra in requirement.extras if part.marker and part.marker.evaluate({"extra": extra})
    ]
    return requirement.specifier.contains(version, prereleases=True) and all(map(_is_met, brought))


def install() -> None:
    """Installs the project if anything that it needs is missing, and says which devices JAX then sees.

    With it comes the JAX of the session's accelerator; what is installed already and will do is left as it is. Raises
    RuntimeError if pip fails, or JAX does not see the accelerator.
    """
    kind = accelerator()
    always, extra = requirements(kind)
    if lacking := missing([*always, *extra]):
        print("installing", *lacking)
        options = ("--quiet", "--disable-pip-version-check", "--root-user-action=ignore", "--editable", str(PROJECT))
        if subprocess.run([sys.executable, "-m", "pip", "install", *options, *extra], check=False).returncode:
            raise RuntimeError("pip could not install the packages: is Internet on in the session's settings?")
        importlib.invalidate_caches()
    command = [sys.executable, "-c", DEVICES]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"The project cannot be used with what is installed:\n{ended.stderr}")
    platform, _, devices = ended.stdout.splitlines()[-1].partition(" ")
    if platform != PLATFORMS.get(kind, platform):
        raise RuntimeError(f"There is a {kind.upper()}, but JAX sees {devices}; restart the session and run all again.")
    print(f"{PROJECT}, on {devices}")


# --- commands --------------------------------------------------------------------------------------------------------


def run(module: str, *flags: object) -> int:
    """`python -m module flags` with its output in the cell; returns 0, or STOPPED if it has saved and can go on.

    To interrupt the cell interrupts the command, which saves before it ends. Raises RuntimeError if it fails.
    """
    command = [sys.executable, "-m", module, *map(str, flags)]
    variables = os.environ | {"PYTHONUNBUFFERED": "1"}
    previous = signal.signal(signal.SIGINT, lambda *_: None)  # Jupyter sends it to the command as well
    try:
        with (
            subprocess.Popen(
                command, cwd=PROJECT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            ) as child,
            as_lines(child.stdout) as output,
        ):
            for line in shown(output):
                print(line, flush=True)
    finally:
        signal.signal(signal.SIGINT, previous)
    if child.returncode not in (0, STOPPED):
        raise RuntimeError(f"python -m {module} ended with exit code {child.returncode}; what it printed says why.")
    return child.returncode


def as_lines(stream: Any) -> io.TextIOWrapper:
    """A stream of bytes as lines that end with what ended them, be it a carriage return."""
    return io.TextIOWrapper(stream, encoding="utf-8", errors="replace", newline="")


def shown(output: io.TextIOWrapper) -> Iterator[str]:
    """The lines of a command's output, of a progress bar one in PROGRESS_SECONDS and its last."""
    shown_at = -PROGRESS_SECONDS
    for line in output:
        text = line.strip("\r\n")
        if line.endswith("\r"):  # of a bar, which comes again
            if not text.strip() or time.monotonic() - shown_at < PROGRESS_SECONDS:
                continue
            shown_at = time.monotonic()
        yield text


# --- runs ------------------------------------------------------------------------------------------------------------


def attached(pattern: str) -> list[Path]:
    """What matches `pattern` under a folder that is attached, at any of the depths that Kaggle and archives make."""
    return [path for depth in range(1, DEPTH + 1) for path in sorted(INPUT.glob("*/" * depth + pattern))]


def last_update(directory: Path) -> int:
    """The update of a run's newest checkpoint, -1 if it has none."""
    names = [path.name for path in directory.glob("checkpoints/*")]
    return max((int(name) for name in names if name.isdigit()), default=-1)


def resume(experiment: str, name: str) -> Path:
    """The folder of a run in this session; what has come furthest of it in an attached output is copied there first."""
    directory = WORKING / "runs" / experiment / name
    source = max(attached(f"runs/{experiment}/{name}"), key=last_update, default=None)
    if source is None or last_update(source) <= last_update(directory):
        going_on = last_update(directory) >= 0
        print(
            f"{directory} {f'goes on at update {last_update(directory)}' if going_on else 'starts at the beginning'}."
        )
        return directory
    partial = directory.with_name(f".{name}.copying")
    shutil.rmtree(partial, ignore_errors=True)
    for path in sorted(source.rglob("*")):
        target = partial / path.relative_to(source)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)  # without the read-only mode of what is attached
    shutil.rmtree(directory, ignore_errors=True)
    partial.rename(directory)
    print(f"{directory} goes on at update {last_update(directory)}, from {source}.")
    return directory


def run_folders() -> list[Path]:
    """The folders that hold runs: this session's, and those of attached outputs."""
    return [folder for folder in (WORKING / "runs", *attached("runs")) if folder.is_dir()]


def find_model(ckpt: str) -> str:
    """`ckpt`, or if it is empty the newest trained model of this session or an attached output, or else a small one."""
    models = [path for folder in run_folders() for path in folder.glob("*/*/model.eqx")]
    newest = max(models, key=lambda path: path.stat().st_mtime, default=None)
    chosen = ckpt or (str(newest.parent) if newest else "pretrained:mnist_doubling_small")
    print(*(f"found {path.parent}" for path in models), f"chosen: {chosen}", sep="\n")
    return chosen


# --- pictures --------------------------------------------------------------------------------------------------------


def pictures(directory: Path, *, finished: bool) -> list[Path]:
    """The pictures of a run that has finished; of one that has not, its training curve and its newest reports."""
    if finished:
        return sorted([*directory.glob("figures/*.png"), *directory.glob("figures/*.gif")])
    from experiments.pictures import training_curve  # after `install`

    curve = directory / "figures" / "training.png"
    training_curve(curve, directory)
    reports = sorted(directory.glob("reports/*.png"))
    return [curve, *(path for path in reports if path.name.split("-")[0] == reports[-1].name.split("-")[0])]


def show(*paths: Path) -> None:
    """Pictures and animations in the cell, each below its name."""
    from IPython.display import Image, display

    for path in paths:
        print(path.name)
        display(Image(filename=str(path)))


def show_report(directory: Path) -> None:
    """The report of a run, on one page of its own in the cell; it is written with what is there so far."""
    from IPython.display import HTML, display

    from experiments import report_page  # after `install`

    content = html.escape(report_page.write(directory).read_text())
    display(HTML(f'<iframe srcdoc="{content}" width="100%" height="900" style="border: 0"></iframe>'))
