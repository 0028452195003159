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
# # Explore
#
# What trained models do: sample, grow, heal and change into one another. The small models that come with the project
# need no data and no accelerator. The next cell is the only one to fill in.

# %% tags=["parameters"]
from os import environ

DOUBLING = environ.get("VNCA_DOUBLING", "pretrained:mnist_doubling_small")  # or a run directory, or a model.eqx
NONDOUBLING = environ.get("VNCA_NONDOUBLING", "pretrained:mnist_nondoubling_small")  # likewise
SEED = int(environ.get("VNCA_SEED", "0"))  # of all that is drawn
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
# ## The models

# %%
import jax.random as jr

from vnca_jax.checkpoint import import_model

figures = session.WORKING / "explore"
(doubling, facts), (nondoubling, other_facts) = (import_model(Path(path)) for path in (DOUBLING, NONDOUBLING))
sample_key, growth_key, damage_key, ends_key = jr.split(jr.key(SEED), 4)
for found in (facts, other_facts):
    print(f"{found['model']}, {found['step']:,} updates on {found['dataset']}: {found['sizes']}")

# %% [markdown]
# ## Samples
#
# x ~ p(x|z) with z ~ p(z), and below them the averages E[x|z] of the same z.

# %%
from experiments import pictures

pictures.samples(figures / "samples.png", doubling, 64, key=sample_key)
pictures.sample_means(figures / "sample_means.png", doubling, 64, key=sample_key)
session.show(figures / "samples.png", figures / "sample_means.png")

# %% [markdown]
# ## Growth
#
# From a 2x2 seed, a row a doubling and a tile a step; eight of them in motion.

# %%
pictures.growth(figures / "growth.png", figures / "growth.gif", doubling, key=growth_key)
session.show(figures / "growth.png", figures / "growth.gif")

# %% [markdown]
# ## Damage and healing
#
# Samples of the model that does not double; with the right half, or a random square, of all cells set to zero; and
# after as many steps again. In motion: growth, then each damage and what becomes of it.

# %%
from types import SimpleNamespace

from experiments import resilience

healing = figures / "healing"
resilience.draw(SimpleNamespace(figure=healing.joinpath), nondoubling, key=damage_key)
session.show(healing / "recovery_right_half.png", healing / "recovery_square.png")
session.show(healing / "growth_damage_healing.gif")

# %% [markdown]
# ## Interpolation
#
# Between four pairs of z ~ p(z): on the straight line, and below it on the sphere.

# %%
import numpy as np

from experiments import interpolation

start, end = np.asarray(jr.normal(ends_key, (2, 4, doubling.latent_size)))
interpolation.draw(figures / "interpolation.png", doubling, start, end, 10)
session.show(figures / "interpolation.png")
