"""How fast a device could be at most: the denominator of model FLOPs utilisation (MFU)."""

import functools
import time

import torch

BFLOAT16_TFLOPS = {
    "RTX 3090": 71.2,
    "RTX 4090": 165.2,
    "RTX 4090 D": 147.1,
    "RTX 5090": 209.5,
    "RTX A6000": 154.8,
    "RTX 6000 Ada": 364.2,
    "L4": 121.0,
    "L40": 181.0,
    "L40S": 362.1,
    "A10G": 70.0,
    "A100": 312.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.5,
    "H100": 989.4,
    "GH200": 989.4,
    "H200 NVL": 835.5,
    "H200": 989.4,
    "B200": 2250.0,
}
"""Dense bfloat16 products with float32 sums, from the makers' data sheets; of the D by its share of a 4090's cores."""
MOBILE = {"Laptop", "Max", "Mobile"}
"""Words in the names of GPUs of notebooks: named as the desktops', they are other chips under other power caps."""
SIDES = {"cpu": 1024, "cuda": 4096}
"""Rows and columns of the matrices that are multiplied where nothing is known of a device: enough to fill it."""


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Return operations per second: from the data sheet in bfloat16 on a known GPU, else as measured here."""
    if device.type == "cuda" and dtype == torch.bfloat16:
        words = torch.cuda.get_device_name(device).replace("-", " ").split()
        known = [key for key in BFLOAT16_TFLOPS if all(word in words for word in key.split())]
        if known and not MOBILE & set(words):
            return BFLOAT16_TFLOPS[max(known, key=len)] * 1e12
    return _measured(device, dtype, torch.get_num_threads())


@functools.cache
def _measured(device: torch.device, dtype: torch.dtype, threads: int) -> float:
    """Return the best of several large matrix products; on a CPU with the threads in use."""
    n = SIDES[device.type]
    a = torch.ones(n, n, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(5):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        a @ a
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best
