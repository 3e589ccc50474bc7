"""Which kernels `make test-paths` runs the tests with."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[1] / "tools" / "older.py"
HASWELL = {"OPENBLAS_CORETYPE": "Haswell", "ATEN_CPU_CAPABILITY": "avx2", "DNNL_MAX_CPU_ISA": "AVX2"}
PRESCOTT = {"OPENBLAS_CORETYPE": "Prescott", "ATEN_CPU_CAPABILITY": "default", "DNNL_MAX_CPU_ISA": "SSE41"}


@pytest.mark.parametrize(("capability", "kernels"), [("AVX512", HASWELL), ("AVX2", PRESCOTT), ("DEFAULT", PRESCOTT)])
def test_kernels_are_older_than_those_of_the_processor(capability, kernels):
    spec = importlib.util.spec_from_file_location("older", TOOL)
    older = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(older)
    assert older.older(capability) == kernels


def test_what_follows_runs_with_them():
    code = "import json, os, sys; print(json.dumps([dict(os.environ), sys.argv[1:]])); raise SystemExit(3)"
    run = subprocess.run([sys.executable, TOOL, "-c", code, "a b"], capture_output=True, text=True)
    environment, arguments = json.loads(run.stdout.splitlines()[-1])
    assert run.returncode == 3 and arguments == ["a b"]
    assert any(kernels.items() <= environment.items() for kernels in (HASWELL, PRESCOTT))
