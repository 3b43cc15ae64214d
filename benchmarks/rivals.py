"""Peers too heavy for the project's environment, each in one of its own, made once below ``benchmarks/.rivals``."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

_FOLDER = Path(__file__).parent / ".rivals"
SDK_VERSION = "4.0.0"
# Of the same versions as ours, so that the two differ in their own code alone.
_SHARED = ("torch", "monai", "pydicom", "highdicom", "numpy", "pylibjpeg", "pylibjpeg-openjpeg", "pylibjpeg-libjpeg")


def deploy_sdk() -> Path | None:
    """Python of an environment with the MONAI Deploy App SDK; None where it cannot be installed."""
    python = _FOLDER / "deploy-sdk" / "bin" / "python"
    if not python.exists():
        print("installing the MONAI Deploy App SDK into an environment of its own", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
        pins = [f"{name}=={version(name)}" for name in _SHARED]
        install = [str(python), "-m", "pip", "install", "--quiet", f"monai-deploy-app-sdk=={SDK_VERSION}", *pins]
        subprocess.run(install, check=False)
    tried = subprocess.run([str(python), "-c", "import monai.deploy.operators"], capture_output=True, check=False)
    return python if tried.returncode == 0 else None


def versions() -> dict[str, str]:
    """Of the rivals."""
    return {"monai-deploy-app-sdk": SDK_VERSION, "imagecodecs": version("imagecodecs")}
