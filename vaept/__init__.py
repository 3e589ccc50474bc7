"""vaept: degenerate latent spaces of variational autoencoders, seen as a problem of perturbation theory.

The modules, in the order in which data flows: `datasets` (on `archives`), `topology` (fields from the data),
`potentials`, `model`, `ensemble`, `training`, `evaluation`, `degeneracy`, `oscillator`, `aggregate`, `landscape` (on
`freeenergy` and `flow`), `dynamics`, `spectrum` (with `survey`, `galerkin`, `eigensolver` and `sampled` beneath it),
`perturbation`; `member` (one model with its images and its landscape), what a member is used for (`clustering`,
`paths`, `relaxation`, `denoising`, `outliers`, `generation`, judged by a `classifier`) and `measures` (all of these by
name); `records` (what a study measured), `checks` and `claims` (the ledger), `figures`, `report` (records into
figures), `profiles`, `store`, `inspection` (what data are good for), `study`, `machines` (how far its numbers differ
between machines), `book`, `cli`. Beneath them all: `errors`, `arguments`, `storage` (files with checksums), `processes`
(work for several members), `progress`, and `sources` (which code decides a result).
"""

from importlib.metadata import version

__version__ = version("vaept")
