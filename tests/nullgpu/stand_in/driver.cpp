// Stands in for libcuda.so.1: what Triton and torch's own look into the driver need.
#include <cuda.h>
#include <dlfcn.h>

#include <cstdio>
#include <map>
#include <mutex>
#include <string>

#include "device.h"

static std::mutex names_lock;
static std::map<void*, std::string> names;
static size_t last_handle = 0x1000;

static CUresult launch(CUfunction function, void* stream) {
  std::lock_guard<std::mutex> locked(names_lock);
  return (CUresult)null::launch(stream, "kernel", ("triton " + names[function]).c_str());
}

static CUresult load(CUmodule* module) {
  if (int no = null::forbidden("cuModuleLoadData")) return (CUresult)no;
  *module = (CUmodule)(last_handle += 16);
  return CUDA_SUCCESS;
}

extern "C" {
CUresult cuInit(unsigned) { return CUDA_SUCCESS; }
CUresult cuDriverGetVersion(int* v) { *v = 13000; return CUDA_SUCCESS; }
CUresult cuDeviceGet(CUdevice* device, int i) { *device = i; return CUDA_SUCCESS; }
CUresult cuDeviceGetCount(int* n) { *n = null::devices(); return CUDA_SUCCESS; }
CUresult cuDeviceGetName(char* s, int n, CUdevice) { snprintf(s, n, "%s", null::card().name); return CUDA_SUCCESS; }
CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice) { *bytes = null::card().bytes; return CUDA_SUCCESS; }
CUresult cuDeviceGetAttribute(int* v, CUdevice_attribute which, CUdevice) {
  const null::Card& c = null::card();
  switch (which) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *v = c.major; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *v = c.minor; break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *v = c.processors; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *v = c.shared_bytes_block; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR: *v = c.shared_bytes; break;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *v = 32; break;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *v = 1024; break;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK: *v = 65536; break;
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: *v = 2520000; break;
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: *v = 10501000; break;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: *v = 384; break;
    default: *v = 0;
  }
  return CUDA_SUCCESS;
}

// Contexts: a device's primary one, told apart by their addresses.
static CUcontext context_of(int device) { return (CUcontext)(size_t)(0x100 + 16 * device); }
CUresult cuCtxGetCurrent(CUcontext* c) { *c = context_of(null::current_device()); return CUDA_SUCCESS; }
CUresult cuCtxSetCurrent(CUcontext c) {
  if (c) null::make_current((int)((size_t)c - 0x100) / 16);
  return CUDA_SUCCESS;
}
CUresult cuCtxGetDevice(CUdevice* device) { *device = null::current_device(); return CUDA_SUCCESS; }
CUresult cuCtxSynchronize() { return (CUresult)null::wait_for_device("cuCtxSynchronize"); }
CUresult cuDevicePrimaryCtxRetain(CUcontext* c, CUdevice device) { *c = context_of(device); return CUDA_SUCCESS; }
CUresult cuDevicePrimaryCtxGetState(CUdevice, unsigned* flags, int* active) {
  *flags = 0;
  *active = 1;
  return CUDA_SUCCESS;
}
CUresult cuGetErrorString(CUresult, const char** s) { *s = "an error of the null GPU"; return CUDA_SUCCESS; }

// Code, and launches of it.
CUresult cuModuleLoad(CUmodule* module, const char*) { return load(module); }
CUresult cuModuleLoadData(CUmodule* module, const void*) { return load(module); }
CUresult cuModuleLoadDataEx(CUmodule* module, const void*, unsigned, CUjit_option*, void**) { return load(module); }
CUresult cuModuleUnload(CUmodule) { return CUDA_SUCCESS; }
CUresult cuModuleGetFunction(CUfunction* function, CUmodule, const char* name) {
  std::lock_guard<std::mutex> locked(names_lock);
  *function = (CUfunction)(last_handle += 16);
  names[*function] = name;
  return CUDA_SUCCESS;
}
CUresult cuFuncGetAttribute(int* v, CUfunction_attribute which, CUfunction) {
  *v = which == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK ? 1024 : which == CU_FUNC_ATTRIBUTE_NUM_REGS ? 64 : 0;
  return CUDA_SUCCESS;
}
CUresult cuFuncSetAttribute(CUfunction, CUfunction_attribute, int) { return CUDA_SUCCESS; }
CUresult cuFuncSetCacheConfig(CUfunction, CUfunc_cache) { return CUDA_SUCCESS; }
CUresult cuLaunchKernel(
    CUfunction f, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream s, void**, void**) {
  return launch(f, s);
}
CUresult cuLaunchKernelEx(const CUlaunchConfig* c, CUfunction f, void**, void**) { return launch(f, c->hStream); }
CUresult cuLaunchCooperativeKernel(
    CUfunction f, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream s, void**) {
  return launch(f, s);
}
CUresult cuOccupancyMaxActiveClusters(int* n, CUfunction, const CUlaunchConfig*) { *n = 1; return CUDA_SUCCESS; }
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* n, CUfunction, int, size_t) { *n = 2; return CUDA_SUCCESS; }

CUresult cuPointerGetAttribute(void* out, CUpointer_attribute which, CUdeviceptr place) {
  if (which == CU_POINTER_ATTRIBUTE_DEVICE_POINTER) {
    *(CUdeviceptr*)out = place;
  } else {
    *(int*)out = 0;
  }
  return null::on_device((void*)place) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuGetProcAddress_v2(
    const char* name, void** function, int, cuuint64_t, CUdriverProcAddressQueryResult* result) {
  *function = dlsym(RTLD_DEFAULT, name);
  if (result) *result = *function ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  return *function ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
}
