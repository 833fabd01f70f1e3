// Stands in for libcudart.so.13. What torch never calls is made by build.py: it is noted as "unwritten" and succeeds.
#define __CUDA_API_VERSION_INTERNAL 0
#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

#include "device.h"

static thread_local int last_error = 0;

static cudaError_t code(int value) {
  if (value && value != null::NOT_READY) last_error = value;
  return (cudaError_t)value;
}

// Kernels by the address of their stub on the host, as the compiler's start-up code registers them.
static std::mutex names_lock;
static std::map<const void*, std::string>& names() {
  static auto* all = new std::map<const void*, std::string>();
  return *all;
}
static cudaError_t launch(const void* kernel, void* stream) {
  std::lock_guard<std::mutex> locked(names_lock);
  auto found = names().find(kernel);
  return code(null::launch(stream, "kernel", found == names().end() ? "?" : found->second.c_str()));
}

struct Call {
  dim3 grid, block;
  size_t shared;
  void* stream;
};
static thread_local Call pushed;

static int attribute(cudaDeviceAttr which) {
  const null::Card& c = null::card();
  switch (which) {
    case cudaDevAttrComputeCapabilityMajor: return c.major;
    case cudaDevAttrComputeCapabilityMinor: return c.minor;
    case cudaDevAttrMultiProcessorCount: return c.processors;
    case cudaDevAttrL2CacheSize: return c.l2_bytes;
    case cudaDevAttrMaxThreadsPerMultiProcessor: return c.threads;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: return c.shared_bytes;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: return c.shared_bytes_block;
    case cudaDevAttrMaxSharedMemoryPerBlock: return 49152;
    case cudaDevAttrMaxRegistersPerBlock: return 65536;
    case cudaDevAttrMaxThreadsPerBlock: return 1024;
    case cudaDevAttrWarpSize: return 32;
    case cudaDevAttrMaxGridDimX: return 2147483647;
    case cudaDevAttrMaxGridDimY:
    case cudaDevAttrMaxGridDimZ: return 65535;
    case cudaDevAttrConcurrentKernels:
    case cudaDevAttrCooperativeLaunch: return 1;
    case cudaDevAttrClockRate: return 2520000;
    case cudaDevAttrMemoryClockRate: return 10501000;
    case cudaDevAttrGlobalMemoryBusWidth: return 384;
    default: return 0;
  }
}

extern "C" {
// Start-up code of programs made by NVIDIA's compiler.
void** __cudaRegisterFatBinary(void*) {
  static void* handle[4];
  return handle;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}
void __cudaRegisterFunction(void**, const char* host, char*, const char* name, int, void*, void*, void*, void*, int*) {
  std::lock_guard<std::mutex> locked(names_lock);
  names()[host] = name;
}
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, struct CUstream_st* stream) {
  pushed = {grid, block, shared, stream};
  return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void* stream) {
  *grid = pushed.grid;
  *block = pushed.block;
  *shared = pushed.shared;
  *(void**)stream = pushed.stream;
  return cudaSuccess;
}
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* host) {
  *kernel = (cudaKernel_t)host;
  return cudaSuccess;
}

// Kernels.
cudaError_t __cudaLaunchKernel(cudaKernel_t k, dim3, dim3, void**, size_t, cudaStream_t s) { return launch(k, s); }
cudaError_t cudaLaunchKernel(const void* k, dim3, dim3, void**, size_t, cudaStream_t s) { return launch(k, s); }
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* c, const void* k, void**) { return launch(k, c->stream); }
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  null::launch(stream, "host function", "");
  if (null::capture_status(stream, nullptr, nullptr) == 0) function(data);
  return cudaSuccess;
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* a, const void*) {
  memset(a, 0, sizeof *a);
  a->maxThreadsPerBlock = 1024;
  a->numRegs = 64;
  a->ptxVersion = a->binaryVersion = null::card().code_version;  // of what the wheel holds and the card runs
  a->maxDynamicSharedSizeBytes = null::card().shared_bytes_block;
  return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }
cudaError_t cudaKernelSetAttributeForDevice(cudaKernel_t, cudaFuncAttribute, int, int) { return cudaSuccess; }
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* n, const void*, int, size_t, unsigned) {
  *n = 2;
  return cudaSuccess;
}

// Devices.
cudaError_t cudaGetDeviceCount(int* n) { *n = null::devices(); return cudaSuccess; }
cudaError_t cudaGetDevice(int* device) { *device = null::current_device(); return cudaSuccess; }
cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= null::devices()) return code(101);
  null::make_current(device);
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* v) { *v = 13000; return cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int* v) { *v = 13000; return cudaSuccess; }
cudaError_t cudaDeviceGetAttribute(int* v, cudaDeviceAttr which, int) { *v = attribute(which); return cudaSuccess; }
cudaError_t cudaDeviceGetPCIBusId(char* s, int n, int d) { snprintf(s, n, "0000:%02d:00.0", d + 1); return cudaSuccess; }
cudaError_t cudaDeviceCanAccessPeer(int* can, int, int) { *can = 0; return cudaSuccess; }
cudaError_t cudaDeviceGetStreamPriorityRange(int* a, int* b) { *a = 0; *b = -5; return cudaSuccess; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device) {
  memset(p, 0, sizeof *p);
  const null::Card& c = null::card();
  strcpy(p->name, c.name);
  p->totalGlobalMem = c.bytes;
  p->major = c.major;
  p->minor = c.minor;
  p->multiProcessorCount = c.processors;
  p->l2CacheSize = c.l2_bytes;
  p->maxThreadsPerMultiProcessor = c.threads;
  p->sharedMemPerMultiprocessor = c.shared_bytes;
  p->sharedMemPerBlockOptin = c.shared_bytes_block;
  p->sharedMemPerBlock = 49152;
  p->regsPerBlock = p->regsPerMultiprocessor = 65536;
  p->warpSize = 32;
  p->maxThreadsPerBlock = p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
  p->maxThreadsDim[2] = 64;
  p->maxGridSize[0] = 2147483647;
  p->maxGridSize[1] = p->maxGridSize[2] = 65535;
  p->totalConstMem = 65536;
  p->textureAlignment = 512;
  p->memoryBusWidth = 384;
  p->maxBlocksPerMultiProcessor = 24;
  p->asyncEngineCount = 2;
  p->concurrentKernels = p->unifiedAddressing = p->cooperativeLaunch = p->canMapHostMemory = 1;
  p->managedMemory = p->streamPrioritiesSupported = p->hostRegisterSupported = 1;
  p->pciBusID = device + 1;
  return cudaSuccess;
}

// Errors.
cudaError_t cudaGetLastError() {
  int was = last_error;
  last_error = 0;
  return (cudaError_t)was;
}
cudaError_t cudaPeekAtLastError() { return (cudaError_t)last_error; }
const char* cudaGetErrorString(cudaError_t e) {
  switch ((int)e) {
    case null::OK: return "no error";
    case null::OUT_OF_MEMORY: return "out of memory";
    case 101: return "invalid device ordinal";
    case null::WRONG_HANDLE: return "invalid resource handle";
    case null::FORBIDDEN_IN_CAPTURE: return "operation not permitted when stream is capturing";
    case null::CAPTURE_INVALIDATED: return "operation failed due to a previous error during capture";
    case null::WAITS_ON_UNCAPTURED: return "dependency created on uncaptured work in another stream";
    case null::LEGACY_STREAM_WAITS: return "operation would make the legacy stream depend on a capturing blocking stream";
    default: return "an error that the null GPU has no words for";
  }
}
const char* cudaGetErrorName(cudaError_t e) {
  static thread_local char name[32];
  snprintf(name, sizeof name, "cudaError%d", (int)e);
  return name;
}

cudaError_t cudaGetDriverEntryPointByVersion(
    const char* name, void** function, unsigned, unsigned long long, cudaDriverEntryPointQueryResult* result) {
  *function = dlsym(RTLD_DEFAULT, name);
  if (!*function) *function = dlsym(RTLD_DEFAULT, (std::string(name) + "_v2").c_str());
  if (result) *result = *function ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}
cudaError_t cudaGetSymbolAddress(void** place, const void* symbol) { *place = (void*)symbol; return cudaSuccess; }
}
