"""Make the virtual environment and install everything that requirements.lock pins, then the package itself.

Runs on any Python 3 so that one that is too old can say so. Usage: python install.py FOLDER
"""

import os
import shutil
import subprocess
import sys

NEEDED = (3, 11)
GIGABYTES = 2.0
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DOWNLOAD = (
    "ConnectionError",
    "NameResolutionError",
    "Read timed out",
    "ConnectTimeout",
    "Max retries",
    "ProtocolError",
)
CAUSES = (
    (("No space left on device", "Errno 28"), "the disk is full; free about 2 GB and run the same command again"),
    (DOWNLOAD, "a download failed; check the network and run the same command again"),
    (
        ("No matching distribution", "Could not find a version"),
        "a pinned package was not found for this Python ({python}) and machine; check the network and the "
        "package index, or use Python 3.11 to 3.13",
    ),
)


def fail(message):
    sys.stderr.write("Error: " + message + ".\n")
    sys.exit(1)


def run(command, log):
    """Run a command with its output in a log file; on failure end with one sentence that names the cause."""
    with open(log, "a") as out:
        status = subprocess.call(command, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT)
    if status:
        with open(log, errors="replace") as written:
            text = written.read()
        for signs, cause in CAUSES:
            if any(sign in text for sign in signs):
                fail(cause.format(python=sys.version.split()[0]) + " (details: " + log + ")")
        last = [line for line in text.splitlines() if line.strip()][-1:]
        fail("installing failed: " + "".join(last).strip().rstrip(".") + " (details: " + log + ")")


def main(folder):
    if sys.version_info < NEEDED:
        fail(
            "vaept needs Python %d.%d or newer, and %s is %s; install one and run, for example, "
            "make book PYTHON=python3.12" % (NEEDED + (sys.executable, sys.version.split()[0]))
        )
    folder = os.path.abspath(folder)
    if not os.path.exists(folder):
        free = shutil.disk_usage(os.path.dirname(folder)).free / 1e9
        if free < GIGABYTES:
            fail("the disk has %.1f GB free, and the installed packages need about %.0f GB" % (free, GIGABYTES))
    try:
        os.makedirs(folder, exist_ok=True)
        log = os.path.join(folder, "install.log")
        open(log, "w").close()
    except OSError as error:
        fail("%s cannot be written: %s" % (folder, error.strerror))
    bin_folder = os.path.join(folder, "Scripts" if os.name == "nt" else "bin")
    python = os.path.join(bin_folder, "python")
    print("Installing the pinned packages into %s (some minutes the first time) …" % folder)
    sys.stdout.flush()
    if not os.path.exists(os.path.join(bin_folder, "pip")):
        try:
            import ensurepip  # noqa: F401
        except ImportError:
            fail("this Python has no venv module; install it (on Debian and Ubuntu the package python3-venv)")
        run([sys.executable, "-m", "venv", folder], log)
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    # Each module is compiled when it is first imported; compiling all of them now takes as long as unpacking them.
    run([*pip, "--no-compile", "-r", "requirements.lock"], log)
    run([*pip, "--no-deps", "--no-build-isolation", "--editable", "."], log)
    with open(os.path.join(folder, ".installed"), "w"):
        pass


if __name__ == "__main__":
    if len(sys.argv) != 2:
        fail("usage: install.py FOLDER")
    main(sys.argv[1])
