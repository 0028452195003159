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
# # Evaluate
#
# From a trained model to its bounds on the test set, the table beside the paper's numbers, and pictures. Attach the
# output of the training notebook, and the data if it cannot be downloaded. The next cell is the only one to fill in.

# %% tags=["parameters"]
from os import environ

CKPT = environ.get("VNCA_CKPT", "")  # a run directory, a model.eqx or pretrained:NAME; empty is the newest run found
FLAGS = environ.get("VNCA_FLAGS", "")  # of the evaluation: "--limit 1000 --num-samples 128"
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
# Bounds, with standard errors over the test images. The importance-weighted one (IWELBO) is the number to compare.

# %%
import shlex

ckpt = session.find_model(CKPT)
evaluation = session.WORKING / "evaluation.json"
_ = session.run("vnca_jax.eval", "--ckpt", ckpt, "--json", evaluation, *shlex.split(FLAGS))

# %% [markdown]
# All finished runs that are attached, and the models that come with the project, beside the published numbers.

# %%
folders = [*session.run_folders(), project / "pretrained"]
_ = session.run("experiments.table", "--runs", *folders, "--out", session.WORKING / "table")

# %% [markdown]
# Test images above their reconstructions, samples, and, of an automaton, growth.

# %%
import json

import jax.random as jr

from experiments import pictures
from vnca_jax import data
from vnca_jax.checkpoint import import_model
from vnca_jax.models import VNCA

figures = session.WORKING / "figures"
model, _ = import_model(Path(ckpt))
dataset = data.load_padded(json.loads(evaluation.read_text())["dataset"], model.image_size)
pictures.reconstructions(figures / "reconstructions.png", model, dataset.some_test_images(32))
pictures.samples(figures / "samples.png", model, 64, key=jr.key(0))
if isinstance(model, VNCA):
    pictures.growth(figures / "growth.png", figures / "growth.gif", model, key=jr.key(1))
session.show(*sorted(figures.iterdir()))
