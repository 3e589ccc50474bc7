"""Run Python with the kernels that an older processor would choose: without AVX-512, or else without AVX.

Usage: python older.py ARGUMENTS OF PYTHON
"""

import os
import sys

import torch

HASWELL = {"OPENBLAS_CORETYPE": "Haswell", "ATEN_CPU_CAPABILITY": "avx2", "DNNL_MAX_CPU_ISA": "AVX2"}
PRESCOTT = {"OPENBLAS_CORETYPE": "Prescott", "ATEN_CPU_CAPABILITY": "default", "DNNL_MAX_CPU_ISA": "SSE41"}


def older(capability):
    """What to set for one processor older than one of this capability, as `torch.backends.cpu` has it."""
    return HASWELL if capability not in ("AVX2", "DEFAULT") else PRESCOTT


if __name__ == "__main__":
    chosen = older(torch.backends.cpu.get_cpu_capability())
    print(" ".join(f"{name}={value}" for name, value in chosen.items()), flush=True)
    os.execve(sys.executable, [sys.executable, *sys.argv[1:]], os.environ | chosen)
