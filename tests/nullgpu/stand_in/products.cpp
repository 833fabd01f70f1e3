// Stands in for libcublas.so.13: matrix products, noted with their sizes and types.
#include <cublas_v2.h>

#include <cstdarg>
#include <cstdio>

#include "device.h"

struct Handle {
  void* stream = nullptr;
  cublasPointerMode_t scalars = CUBLAS_POINTER_MODE_HOST;
  cublasMath_t math = CUBLAS_DEFAULT_MATH;
};

static const char* type(int t) {
  return t == CUDA_R_32F ? "f32" : t == CUDA_R_16BF ? "bf16" : t == CUDA_R_16F ? "f16" : t == CUDA_R_64F ? "f64" : "?";
}

static cublasStatus_t launch(cublasHandle_t handle, const char* format, ...) {
  char name[160];
  va_list values;
  va_start(values, format);
  vsnprintf(name, sizeof name, format, values);
  va_end(values);
  int code = null::launch(((Handle*)handle)->stream, "product", name);
  return code ? CUBLAS_STATUS_EXECUTION_FAILED : CUBLAS_STATUS_SUCCESS;
}

extern "C" {
cublasStatus_t cublasCreate_v2(cublasHandle_t* h) {
  *h = (cublasHandle_t) new Handle();
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy_v2(cublasHandle_t) { return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t, void*, size_t) { return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasSetStream_v2(cublasHandle_t h, cudaStream_t s) {
  ((Handle*)h)->stream = s;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasGetPointerMode_v2(cublasHandle_t h, cublasPointerMode_t* mode) {
  *mode = ((Handle*)h)->scalars;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetPointerMode_v2(cublasHandle_t h, cublasPointerMode_t mode) {
  ((Handle*)h)->scalars = mode;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasGetMathMode(cublasHandle_t h, cublasMath_t* mode) {
  *mode = ((Handle*)h)->math;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetMathMode(cublasHandle_t h, cublasMath_t mode) {
  ((Handle*)h)->math = mode;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGemmEx(
    cublasHandle_t h, cublasOperation_t, cublasOperation_t, int m, int n, int k, const void*, const void*,
    cudaDataType a, int, const void*, cudaDataType, int, const void*, void*, cudaDataType c, int, cublasComputeType_t,
    cublasGemmAlgo_t) {
  return launch(h, "gemm %s->%s m%d n%d k%d", type(a), type(c), m, n, k);
}
cublasStatus_t cublasGemmStridedBatchedEx(
    cublasHandle_t h, cublasOperation_t, cublasOperation_t, int m, int n, int k, const void*, const void*,
    cudaDataType a, int, long long, const void*, cudaDataType, int, long long, const void*, void*, cudaDataType c, int,
    long long, int batch, cublasComputeType_t, cublasGemmAlgo_t) {
  return launch(h, "gemmBatched %s->%s m%d n%d k%d batch %d", type(a), type(c), m, n, k, batch);
}
cublasStatus_t cublasSgemm_v2(
    cublasHandle_t h, cublasOperation_t, cublasOperation_t, int m, int n, int k, const float*, const float*, int,
    const float*, int, const float*, float*, int) {
  return launch(h, "sgemm m%d n%d k%d", m, n, k);
}
cublasStatus_t cublasSgemmStridedBatched(
    cublasHandle_t h, cublasOperation_t, cublasOperation_t, int m, int n, int k, const float*, const float*, int,
    long long, const float*, int, long long, const float*, float*, int, long long, int batch) {
  return launch(h, "sgemmBatched m%d n%d k%d batch %d", m, n, k, batch);
}
cublasStatus_t cublasSgemv_v2(
    cublasHandle_t h, cublasOperation_t, int m, int n, const float*, const float*, int, const float*, int,
    const float*, float*, int) {
  return launch(h, "sgemv m%d n%d", m, n);
}
cublasStatus_t cublasSdot_v2(cublasHandle_t h, int n, const float*, int, const float*, int, float*) {
  return launch(h, "sdot n%d", n);
}
cublasStatus_t cublasDotEx(
    cublasHandle_t h, int n, const void*, cudaDataType, int, const void*, cudaDataType, int, void*, cudaDataType,
    cudaDataType) {
  return launch(h, "dot n%d", n);
}
}
