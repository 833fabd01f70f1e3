// Stands in for libcudart.so.13: memory, streams, events, captures.
#define __CUDA_API_VERSION_INTERNAL 0
#include <cuda_runtime_api.h>

#include <cstring>

#include "device.h"

static cudaError_t code(int value) { return (cudaError_t)value; }

extern "C" {
// Memory. What may not be called during a capture asks first.
cudaError_t cudaMalloc(void** place, size_t bytes) {
  int no = null::forbidden("cudaMalloc");
  return code(no ? no : null::allocate(place, bytes));
}
cudaError_t cudaFree(void* place) {
  int no = place ? null::forbidden("cudaFree") : 0;
  return code(no ? no : null::release(place));
}
cudaError_t cudaHostAlloc(void** place, size_t bytes, unsigned) {
  int no = null::forbidden("cudaHostAlloc");
  return code(no ? no : null::allocate_host(place, bytes));
}
cudaError_t cudaFreeHost(void* place) {
  int no = null::forbidden("cudaFreeHost");
  if (!no) null::release_host(place);
  return code(no);
}
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total) { null::memory(free_bytes, total); return cudaSuccess; }
cudaError_t cudaHostRegister(void*, size_t, unsigned) { return cudaSuccess; }
cudaError_t cudaHostUnregister(void*) { return cudaSuccess; }
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* a, const void* place) {
  memset(a, 0, sizeof *a);
  a->type = null::on_device(place) ? cudaMemoryTypeDevice
            : null::pinned(place)  ? cudaMemoryTypeHost
                                   : cudaMemoryTypeUnregistered;
  a->devicePointer = a->hostPointer = (void*)place;
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t s) {
  return code(null::copy(to, from, bytes, s));
}
cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t bytes, cudaStream_t s) {
  return code(null::copy(to, from, bytes, s));
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  return code(null::copy_now(to, from, bytes));
}
cudaError_t cudaMemcpyToSymbol(const void*, const void*, size_t, size_t, cudaMemcpyKind) { return cudaSuccess; }
cudaError_t cudaMemsetAsync(void*, int, size_t, cudaStream_t s) { return code(null::launch(s, "memset", "")); }
cudaError_t cudaMemset(void*, int, size_t) { return code(null::launch(nullptr, "memset", "")); }

// Streams.
cudaError_t cudaDeviceSynchronize() { return code(null::wait_for_device("cudaDeviceSynchronize")); }
cudaError_t cudaStreamCreate(cudaStream_t* s) { *s = (cudaStream_t)null::new_stream(0); return cudaSuccess; }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned flags) {
  *s = (cudaStream_t)null::new_stream(flags);
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* s, unsigned flags, int) {
  *s = (cudaStream_t)null::new_stream(flags);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamGetPriority(cudaStream_t, int* priority) { *priority = 0; return cudaSuccess; }
cudaError_t cudaStreamQuery(cudaStream_t) { return code(null::forbidden("cudaStreamQuery")); }
cudaError_t cudaStreamSynchronize(cudaStream_t s) { return code(null::wait_for_stream(s, "cudaStreamSynchronize")); }
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned) { return code(null::stream_waits(s, e)); }

// Events.
cudaError_t cudaEventCreate(cudaEvent_t* e) { *e = (cudaEvent_t)null::new_event(); return cudaSuccess; }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* e, unsigned) { return cudaEventCreate(e); }
cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) { return code(null::record(e, s)); }
cudaError_t cudaEventRecordWithFlags(cudaEvent_t e, cudaStream_t s, unsigned) { return code(null::record(e, s)); }
cudaError_t cudaEventSynchronize(cudaEvent_t e) { return code(null::wait_for_event(e)); }
cudaError_t cudaEventQuery(cudaEvent_t e) {
  int no = null::forbidden("cudaEventQuery");
  return code(no ? no : null::event_done(e));
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  *milliseconds = (float)((null::event_seconds(to) - null::event_seconds(from)) * 1e3) + 0.01f;  // never zero
  return cudaSuccess;
}

// Captures and graphs.
cudaError_t cudaStreamIsCapturing(cudaStream_t s, cudaStreamCaptureStatus* status) {
  *status = (cudaStreamCaptureStatus)null::capture_status(s, nullptr, nullptr);
  return cudaSuccess;
}
cudaError_t cudaStreamGetCaptureInfo(
    cudaStream_t s, cudaStreamCaptureStatus* status, unsigned long long* id, cudaGraph_t* graph,
    const cudaGraphNode_t** dependencies, const cudaGraphEdgeData** edges, size_t* number) {
  void* capture = nullptr;
  *status = (cudaStreamCaptureStatus)null::capture_status(s, id, &capture);
  if (graph) *graph = (cudaGraph_t)capture;
  if (dependencies) *dependencies = nullptr;
  if (edges) *edges = nullptr;
  if (number) *number = 0;
  return cudaSuccess;
}
cudaError_t cudaStreamUpdateCaptureDependencies(
    cudaStream_t, cudaGraphNode_t*, const cudaGraphEdgeData*, size_t, unsigned) {
  return cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode m) { return code(null::begin_capture(s, m)); }
cudaError_t cudaStreamBeginCaptureToGraph(
    cudaStream_t s, cudaGraph_t, const cudaGraphNode_t*, const cudaGraphEdgeData*, size_t, cudaStreamCaptureMode m) {
  return code(null::begin_capture(s, m));
}
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t* g) { return code(null::end_capture(s, (void**)g)); }
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  *mode = (cudaStreamCaptureMode)null::exchange_mode(*mode);
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* x, cudaGraph_t g, unsigned long long) {
  return code(null::instantiate((void**)x, g));
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* x, cudaGraph_t g, unsigned long long) {
  return code(null::instantiate((void**)x, g));
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t x, cudaStream_t s) { return code(null::replay(x, s)); }
cudaError_t cudaGraphDestroy(cudaGraph_t) { return cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t) { return cudaSuccess; }
cudaError_t cudaGraphGetNodes(cudaGraph_t g, cudaGraphNode_t*, size_t* number) {
  *number = null::nodes(g);
  return cudaSuccess;
}
cudaError_t cudaGraphNodeGetDependencies(cudaGraphNode_t, cudaGraphNode_t*, cudaGraphEdgeData*, size_t* number) {
  *number = 0;
  return cudaSuccess;
}
cudaError_t cudaGraphDebugDotPrint(cudaGraph_t, const char*, unsigned) { return cudaSuccess; }
}
