"""vaept: degenerate latent spaces of variational autoencoders, seen as a problem of perturbation theory.

The modules, in the order in which data flows: `datasets`, `model`, `ensemble`, `training`, `evaluation`,
`degeneracy`, `oscillator`, `aggregate`, `spectrum` (with `survey`, `galerkin`, `eigensolver` and `sampled` beneath it),
`perturbation`, `figures`, `study` (profiles and the run store), `book`, `cli`.
"""

from importlib.metadata import version

__version__ = version("vaept")
