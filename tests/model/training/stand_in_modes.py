"""What torch is made to believe of tensors and operations on the GPU that stands in for one."""

import functools
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from tests.model.training.stand_in import Gpu

CPU = torch.device("cpu")
DEVICE = torch.Tensor.device.__get__
LOOKS_AT_A_VALUE = {"aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::is_nonzero"}
LEAVES_THE_GPU = {torch.Tensor.cpu, torch.Tensor.numpy, torch.Tensor.tolist}


class OnGpu(TorchFunctionMode):
    """Makes every tensor say that it is on the GPU, whose device no CPU build of torch could make one on."""

    def __init__(self, gpu: "Gpu") -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func == DEVICE:
            return self.gpu.device
        if func is torch.Tensor.pin_memory:
            return args[0].clone()
        if func in LEAVES_THE_GPU:
            self.gpu.refuse_while_capturing()
        if func is torch.Tensor.to:  # a copy, as between host and device
            args = (args[0].clone(), *args[1:])
        if any(isinstance(a, torch.device) for a in args):
            args = tuple(CPU if isinstance(a, torch.device) else a for a in args)
        if not kwargs:
            return func(*args)
        return func(*args, **(kwargs if kwargs.get("device") is None else {**kwargs, "device": CPU}))


def tensors(tree: Any) -> list[torch.Tensor]:
    """Return the tensors in a tree of arguments or results, in order."""
    if isinstance(tree, torch.Tensor):
        return [tree]
    if isinstance(tree, dict):
        tree = tree.values()
    elif not isinstance(tree, list | tuple):
        return []
    return [tensor for branch in tree for tensor in tensors(branch)]


def storages(tree: Any) -> dict[int, torch.UntypedStorage]:
    """Return the memory of the tensors in a tree of arguments or results, by address."""
    return {(s := t.untyped_storage()).data_ptr(): s for t in tensors(tree)}


class Allocator(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the memory of new tensors, and refuses those that don't fit."""

    def __init__(self, gpu: "Gpu") -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.gpu = gpu

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            given = storages((args, kwargs))
            for address, storage in storages(result).items():
                size = 0 if address in given else storage.nbytes()
                self.gpu.made_bytes += size
                if size > self.gpu.largest_bytes and not self.gpu.fits():
                    self.gpu.events["out of memory"] += 1
                    raise torch.OutOfMemoryError(f"CUDA out of memory: {size} bytes")
        return result


class Capture(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes operations down, autograd's and the optimizer's too: a CPU's backward pass runs in this thread."""

    def __init__(self, gpu: "Gpu") -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.gpu, self.broken = gpu, False
        self.calls: list[tuple[Any, Any, Any, list[tuple[int, torch.Tensor]]]] = []
        """Each operation, its arguments, and the tensors that it made, with their places in its result."""
        self._own: set[int] = set()
        self._before: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunction():  # down here nothing asks for the device, and each look at a tensor counts
            return self._written_down(func, args, kwargs or {})

    def _written_down(self, func: Any, args: Any, kwargs: Any) -> Any:
        elsewhere = self.gpu.stream.index != self.gpu.device.index
        if func._schema.name in LOOKS_AT_A_VALUE or elsewhere:
            self.gpu.refuse_while_capturing()
        written = _written(func, args, kwargs)
        for address, storage in written.items():
            if address not in self._own and address not in self._before:
                content = torch.empty(0, dtype=torch.uint8).set_(storage)
                self._before[address] = content, content.clone()
        result = func(*args, **kwargs)
        if written or not func.is_view:
            given = storages((args, kwargs))
            made = [(i, t) for i, t in enumerate(tensors(result)) if t.untyped_storage().data_ptr() not in given]
            self.calls.append((func, args, kwargs, made))
            self._own |= {t.untyped_storage().data_ptr() for _, t in made}
        return result

    def undo(self) -> None:
        """Give every tensor that was there before the content that it had."""
        for content, before in self._before.values():
            content.copy_(before)

    @torch.no_grad()
    def replay(self) -> None:
        with torch._C.DisableTorchFunction():
            for func, args, kwargs, made in self.calls:
                again = tensors(func(*args, **kwargs))
                for place, old in made:
                    old.copy_(again[place])  # where the operations after it look for it


def _written(func: Any, args: Any, kwargs: Any) -> dict[int, torch.UntypedStorage]:
    return storages([args[i] if i < len(args) else kwargs.get(name) for i, name in _arguments_written(func)])


@functools.cache
def _arguments_written(func: Any) -> list[tuple[int, str]]:
    declared = enumerate(func._schema.arguments)
    return [(i, a.name) for i, a in declared if a.alias_info is not None and a.alias_info.is_write]
