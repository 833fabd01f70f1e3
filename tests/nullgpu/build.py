"""Makes the null GPU in a folder of its own: an environment with the CUDA build of torch, and the stand-ins."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SOURCE = Path(__file__).parent / "stand_in"
PACKAGES = ("torch", "numpy", "sentencepiece", "jaxtyping", "nvidia-cuda-cccl")  # the last for a header of cuBLAS
SHARED = ("memory", "work", "capture", "driver")  # the driver's library also holds the device that all of them share
LIBRARIES = {
    "libcuda.so.1": SHARED,
    "libcudart.so.13": ("runtime", "runtime_work"),
    "libcublas.so.13": ("products",),
    "libcublasLt.so.13": ("fused_products",),
}


class NoNullGpuError(Exception):
    """The null GPU can't be made here; says what is missing."""


class NullGpu:
    """A folder with `venv` and `lib`; made where it isn't there, made anew where the sources have changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.python = self.folder / "venv" / "bin" / "python"
        self.lib = self.folder / "lib"

    def make(self) -> None:
        """Do what is missing. Raises `NoNullGpuError` where it can't be done."""
        missing = [program for program in ("g++", "nm") if shutil.which(program) is None]
        if missing:
            raise NoNullGpuError(f"{' and '.join(missing)}: not found; install a C++ compiler with its binutils")
        self._install()
        stamp, sources = self.lib / "sources", b"".join(p.read_bytes() for p in sorted(SOURCE.iterdir()))
        identity = hashlib.sha256(sources + Path(__file__).read_bytes()).hexdigest()
        if not stamp.exists() or stamp.read_text() != identity:
            self._compile()
            stamp.write_text(identity)

    def environment(self, *paths: Path, **settings: str) -> dict[str, str]:
        """Return the environment in which a program finds the stand-ins before NVIDIA's libraries, and these paths."""
        libraries = ":".join(str(self.lib / name) for name in LIBRARIES)
        own = {"LD_PRELOAD": libraries, "LD_LIBRARY_PATH": str(self.lib), "TRITON_LIBCUDA_PATH": str(self.lib)}
        quiet = {"OMP_NUM_THREADS": "2", "TORCHINDUCTOR_COMPILE_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        python = ":".join(map(str, (Path(__file__).parent / "on_start", *paths)))
        return {**os.environ, **quiet, **own, "PYTHONPATH": python, **settings}

    def _install(self) -> None:
        if self._has_cuda():
            return
        print(f"installing torch with CUDA, 5 GB, into {self.folder / 'venv'}", file=sys.stderr, flush=True)
        venv.create(self.folder / "venv", with_pip=True, clear=True)
        # A machine without GPUs may be set up to get the CPU build of the same version: not here.
        plain = {**os.environ, "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
        command = [str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]
        command += ["--constraint", str(ROOT / "constraints.txt"), *PACKAGES]
        if subprocess.run(command, env=plain, check=False).returncode or not self._has_cuda():
            raise NoNullGpuError("torch's build with CUDA could not be installed: see above; is the index at hand?")

    def _has_cuda(self) -> bool:
        if not self.python.exists():
            return False
        version = self._site() / "torch" / "version.py"
        return version.exists() and re.search(r"^cuda: .*= '13", version.read_text(), re.M) is not None

    def _site(self) -> Path:
        return next((self.folder / "venv" / "lib").glob("python3*")) / "site-packages"

    def _compile(self) -> None:
        print(f"compiling the stand-ins into {self.lib}", file=sys.stderr, flush=True)
        objects = self.folder / "objects"
        for folder in (self.lib, objects):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        headers = [self._site() / "nvidia/cu13/include", self._site() / "triton/backends/nvidia/include", SOURCE]
        flags = ["-O1", "-fPIC", "-std=c++17", "-w", *(f"-I{h}" for h in headers)]
        for parts in LIBRARIES.values():
            for part in parts:
                _run("g++", *flags, "-c", str(SOURCE / f"{part}.cpp"), "-o", str(objects / f"{part}.o"))
        for name, parts in LIBRARIES.items():
            self._link(name, [str(objects / f"{part}.o") for part in parts], objects)
        (self.lib / "libcuda.so").symlink_to("libcuda.so.1")

    def _link(self, name: str, parts: list[str], objects: Path) -> None:
        """Link a library; what NVIDIA's has and ours doesn't is noted when it is called, and succeeds."""
        rest = objects / f"rest_{name.split('.')[0]}.cpp"
        unwritten = sorted(self._symbols(name) - _symbols(*parts))
        declared = "namespace null { void say_unwritten(const char*); }\n"
        lines = (f'extern "C" long {s}() {{ null::say_unwritten("{s}"); return 0; }}\n' for s in unwritten)
        rest.write_text(declared + "".join(lines))
        _run("g++", "-O1", "-fPIC", "-w", "-c", str(rest), "-o", str(rest.with_suffix(".o")))
        command = ["g++", "-shared", f"-Wl,-soname,{name}", *parts, str(rest.with_suffix(".o"))]
        if name != "libcuda.so.1":
            version = objects / f"{name}.map"
            version.write_text(f"{name} {{ global: *; }};\n")
            command += [f"-Wl,--version-script={version}", f"-L{self.lib}", "-l:libcuda.so.1"]
        _run(*command, "-ldl", "-lpthread", "-o", str(self.lib / name))

    def _symbols(self, name: str) -> set[str]:
        """Return the functions of NVIDIA's library; of the driver, which no package brings, those of its header."""
        if name == "libcuda.so.1":
            text = (self._site() / "nvidia/cu13/include/cuda.h").read_text()
            return set(re.findall(r"\b(cu[A-Z]\w*)(?=\()", text))
        real = self._site() / "nvidia/cu13/lib" / name
        return {s for s in _symbols("-D", str(real)) if re.match(r"(__)?cu(da|blas)", s)}


def _symbols(*arguments: str) -> set[str]:
    lines = _run("nm", "--defined-only", *arguments).splitlines()
    fields = (line.split() for line in lines)
    return {f[2].split("@")[0] for f in fields if len(f) == 3 and f[1] in "TWi"}


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoNullGpuError(f"{' '.join(command[:1])} failed: {done.stderr[-2000:]}")
    return done.stdout
