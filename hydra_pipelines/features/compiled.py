"""Machine code of the kernels: compiled once a machine, kept as an object file, loaded in 30 ms.

Here belongs getting from a `kernels.py` to functions that can be called. numba compiles; since
importing it and loading its own cache costs half a second in every process, what it made is kept
as an object file beside the bytecode and loaded by llvmlite alone. A file made from other sources,
by another version or for another processor is never used.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

Kernel = Callable[..., None]

_SOURCE = Path(__file__).with_name("kernels.py")
_PACKAGE = Path(__file__).parent.parent
_POINTER, _INTEGER, _DOUBLE = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
_CTYPES = {"p": _POINTER, "i": _INTEGER, "d": _DOUBLE}


@functools.cache
def kernels(room: str = "features") -> dict[str, Kernel]:
    """The kernels of a room's `kernels.py` by name; arrays are passed as addresses.

    They run without the interpreter lock. A room has its own file of code, so that a change in one
    leaves the others' as they are.

    Compiles (some seconds) where no folder holds the code yet; where none can be written, it does
    so in every process.
    """
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    source = _SOURCE if room == "features" else _PACKAGE / room / "kernels.py"
    name = f"kernels-{_key(llvm, source)}.o"
    for folder in _folders(source):
        made = _read(folder / name)
        if made is not None:
            return _load(llvm, *made)
    made = _compile(llvm, room)
    for folder in _folders(source):
        if _write(folder / name, *made):
            break
    return _load(llvm, *made)


def _folders(source: Path | None = None) -> Iterator[Path]:
    """Where code may be kept, the first that can be written: as safe as the modules themselves."""
    yield (source or _SOURCE).parent / "__pycache__"
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    yield Path(cache) / "hydra_pipelines"


def _key(llvm, source: Path | None = None) -> str:
    parts = (
        hashlib.sha256((source or _SOURCE).read_bytes()).hexdigest(),
        hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
        version("numba"),
        version("llvmlite"),
        llvm.get_process_triple(),
        llvm.get_host_cpu_name(),
        llvm.get_host_cpu_features().flatten(),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]


def _machine(llvm):
    return llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        reloc="static",
        codemodel="jitdefault",
        jit=True,
    )


def _compile(llvm, room: str) -> tuple[dict[str, list], list[bytes]]:
    """Symbol and argument types of each kernel, and its object code."""
    import numba

    source = importlib.import_module(f"{_PACKAGE.name}.{room}.kernels")
    index, objects = {}, []
    for name, (function, arguments) in source.KERNELS.items():
        # Divisions by zero are infinite or NaN, as in numpy, instead of errors.
        made = numba.cfunc(numba.types.void(*arguments), error_model="numpy")(function)
        code = _machine(llvm).emit_object(llvm.parse_assembly(made.inspect_llvm()))
        kinds = "".join(
            "p"
            if isinstance(kind, numba.types.CPointer)
            else "d"
            if kind is numba.types.float64
            else "i"
            for kind in arguments
        )
        index[name] = [made.native_name, kinds, len(code)]
        objects.append(code)
    return index, objects


def _load(llvm, index: dict[str, list], objects: list[bytes]) -> dict[str, Kernel]:
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine(llvm))
    for code in objects:
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    found = {}
    for name, (symbol, kinds, _) in index.items():
        prototype = ctypes.CFUNCTYPE(None, *(_CTYPES[kind] for kind in kinds))
        function = prototype(engine.get_function_address(symbol))
        # The code lives as long as the engine.
        function.engine = engine
        found[name] = function
    return found


def _read(path: Path) -> tuple[dict[str, list], list[bytes]] | None:
    """What `_write` wrote; None where there is nothing, or something else."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, rest = content[:32], content[32:]
    if hashlib.sha256(rest).digest() != digest:
        return None
    head, _, code = rest.partition(b"\n")
    index = json.loads(head)
    objects, at = [], 0
    for _, _, size in index.values():
        objects.append(code[at : at + size])
        at += size
    return index, objects


def _write(path: Path, index: dict[str, list], objects: list[bytes]) -> bool:
    rest = json.dumps(index).encode() + b"\n" + b"".join(objects)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".kernels-")
    except OSError:
        return False
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(rest).digest() + rest)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        return False
    return True
