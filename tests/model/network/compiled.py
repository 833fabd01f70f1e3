"""What the compiler makes of ideas: a program, since a test's shape checks can't be compiled.

It reads names, one a line, and answers each with a line of JSON: graphs of the whole pass over two batches, graphs of
five blocks one by one and how many kinds they are of, and the largest difference between the compiled gradients and the
eager ones; or an `error`.
"""

import gc
import json
import sys
import traceback
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from torch._dynamo.testing import CompileCounterWithBackend

from model.network.loss import batch_loss
from model.network.transformer import Transformer, call
from model.training.float8 import use_float8
from tests.model.network.case import CONTEXT, Case, tokens
from tests.model.network.menu import COSTLY

FLOAT8 = "float8"
"""Name of the plain network with its linear layers in float8."""


def gradients(loss_of: Callable[..., Any], net: Transformer, seed: int) -> list[torch.Tensor]:
    rows = torch.randint(0, net.vocab_size, (2, CONTEXT + 1), generator=torch.Generator().manual_seed(seed))
    loss = loss_of(net, rows, 0.3)[0]
    return [loss.detach(), *torch.autograd.grad(loss, [p for p in net.parameters() if p.requires_grad])]


def whole_pass(case: Case, float8: bool) -> dict[str, float]:
    torch.compiler.reset()
    counter, net, apart = CompileCounterWithBackend("aot_eager"), case.network().train(), 0.0
    if float8:
        use_float8(net)
    compiled = torch.compile(batch_loss, backend=counter, fullgraph=True, dynamic=False)
    for seed in range(2):
        pairs = zip(gradients(compiled, net, seed), gradients(batch_loss, net, seed), strict=True)
        apart = max(apart, *((a - b).abs().max().item() for a, b in pairs))
    return {"whole": counter.frame_count, "apart": apart}


def block_by_block(case: Case, float8: bool) -> dict[str, float]:
    torch.compiler.reset()
    counter, net = CompileCounterWithBackend("eager"), case.network(n_layer=5, mtp_heads=0)
    if float8:
        use_float8(net)
    by_counter = torch.compile(call, backend=counter, fullgraph=True, dynamic=False)
    counted = mock.patch(
        "model.network.transformer.maybe_compiled", lambda function, compiled: by_counter if compiled else function
    )
    with counted:
        net.states(tokens(), compiled=True)
    return {"blocks": counter.frame_count, "kinds": len(set(net.layers))}


def answer(name: str) -> dict[str, float]:
    terms = COSTLY.get(name, COSTLY["plain"]), name == FLOAT8
    return whole_pass(*terms) | block_by_block(*terms)


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch._C._set_mkldnn_enabled(False)  # oneDNN's products in float8 are many times slower than torch's own
    gc.freeze()  # a compilation makes so many objects that all of torch's would be gone through again and again
    gc.disable()
    for line in sys.stdin:
        try:
            found: dict[str, Any] = answer(line.strip())
        except Exception:
            found = {"error": traceback.format_exc()}
        print(json.dumps(found), flush=True)
        gc.collect()
