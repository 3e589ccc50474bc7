"""Levels: of potentials, of densities known as functions or by samples, and of the oscillator that the prior is."""

from vaept.spectrum.levels import Spectrum, from_log_density, from_potential, from_samples

__all__ = ["Spectrum", "from_log_density", "from_potential", "from_samples"]
