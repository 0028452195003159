# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Train
#
# Trains one of the project's models on a TPU, a GPU or CPU, and evaluates it. The next cell is the only one to fill in;
# then *Run All*, or *Save Version* with *Save & Run All* for a long run in the background.
#
# | experiment | data | looked for under `/kaggle/input` |
# |---|---|---|
# | `mnist_doubling`, `mnist_nondoubling`, `mnist_baseline` | static binarized MNIST | `.amat` files; else downloaded |
# | `celeba_doubling`, `celeba_nondoubling`, `celeba_baseline` | CelebA | `img_align_celeba`, also as a zip |
# | `emoji_doubling` | Noto Color Emoji | `NotoColorEmoji.ttf`, or PNG files |
#
# The preset `paper` is the paper's configuration, which wants an accelerator and may take several sessions; `cpu` is a
# small one for any machine, of the MNIST experiments on scikit-learn's digits, which need no files.

# %% tags=["parameters"]
from os import environ

EXPERIMENT = environ.get("VNCA_EXPERIMENT", "mnist_doubling")  # a name from the table
PRESET = environ.get("VNCA_PRESET", "paper")  # or cpu
NAME = environ.get("VNCA_NAME", "")  # of the run; empty is the preset's. The same name resumes a run
MINUTES = environ.get("VNCA_MINUTES", "480")  # of training in this session, which Kaggle ends after 9 hours (TPU) or 12
FLAGS = environ.get("VNCA_FLAGS", "")  # any others, as on the command line: "--beta 100 --limit 1000"
REPOSITORY = environ.get("VNCA_REPOSITORY", "")  # git address of the project, needed if its files are not attached

# %% [markdown]
# The project is looked for among what is attached (a dataset with the files of the repository), or else cloned from
# `REPOSITORY`, and runs from a copy outside the output. What the image lacks is installed, with the JAX of the
# accelerator that is found; what is there and will do stays.

# %%
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

project = Path(tempfile.gettempdir()) / "vnca-jax"
inputs = Path(environ.get("VNCA_INPUT", "/kaggle/input"))
attached = [found.parent.parent for depth in range(1, 5) for found in inputs.glob("*/" * depth + "kaggle/session.py")]
if attached:
    shutil.copytree(attached[0], project, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*", "runs"))
elif REPOSITORY and not project.exists():
    subprocess.run(["git", "clone", "--depth", "1", REPOSITORY, project], check=True)
elif not project.exists():
    raise FileNotFoundError("Attach the project's files as a dataset, or give REPOSITORY above its git address.")
sys.path[:0] = [str(project), str(project / "kaggle")]

import session

session.install()

# %% [markdown]
# To resume a run, attach the output of the session before (*Add Input*, *Your Work*, *Notebooks*): the run of that
# experiment and name that has come furthest is copied here. When the time is up, training saves its state and stops.

# %%
import shlex

run = session.resume(EXPERIMENT, NAME or PRESET)
flags = ["--preset", PRESET, "--name", run.name, "--out", run.parent.parent, "--max-minutes", MINUTES]
code = session.run(f"experiments.{EXPERIMENT}", *flags, *shlex.split(FLAGS))

# %% [markdown]
# What it has come to: the report, with curves, numbers and pictures over time, and then the pictures of a finished run
# one by one, else the training curve and the newest pictures. `report.html` is in the output too, to open in a browser.

# %%
session.show_report(run)
session.show(*session.pictures(run, finished=code == 0))
if code == session.STOPPED:
    print("Not finished: attach the output of this version, and run the notebook again with the same values.")
else:
    print(f"Finished. All numbers are in {run / 'results.json'}, the model in {run / 'model.eqx'}.")
