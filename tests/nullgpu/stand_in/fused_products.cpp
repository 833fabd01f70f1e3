// Stands in for libcublasLt.so.13: products with something joined on, noted with their sizes and types.
#include <cublasLt.h>

#include <cstdio>
#include <cstring>

#include "device.h"

struct Product {
  int transposed = 0;
  int epilogue = 0;
};

struct Layout {
  int type;
  unsigned long long rows, columns;
  int batch = 1;
};

static const char* type(int t) { return t == CUDA_R_32F ? "f32" : t == CUDA_R_16BF ? "bf16" : t == CUDA_R_16F ? "f16" : "?"; }

extern "C" {
size_t cublasLtGetVersion(void) { return 130000; }
cublasStatus_t cublasLtCreate(cublasLtHandle_t* h) {
  *h = (cublasLtHandle_t)0x10;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* d, cublasComputeType_t, cudaDataType_t) {
  *d = (cublasLtMatmulDesc_t) new Product();
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) {
  delete (Product*)d;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(
    cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t which, const void* value, size_t) {
  if (which == CUBLASLT_MATMUL_DESC_TRANSA) ((Product*)d)->transposed = *(const int*)value;
  if (which == CUBLASLT_MATMUL_DESC_EPILOGUE) ((Product*)d)->epilogue = *(const int*)value;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutCreate(
    cublasLtMatrixLayout_t* l, cudaDataType t, uint64_t rows, uint64_t columns, int64_t) {
  *l = (cublasLtMatrixLayout_t) new Layout{(int)t, rows, columns};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l) {
  delete (Layout*)l;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(
    cublasLtMatrixLayout_t l, cublasLtMatrixLayoutAttribute_t which, const void* value, size_t) {
  if (which == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT) ((Layout*)l)->batch = *(const int*)value;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* p) {
  *p = (cublasLtMatmulPreference_t)0x20;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t) { return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(
    cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t, const void*, size_t) {
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(
    cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
    cublasLtMatrixLayout_t, cublasLtMatmulPreference_t, int, cublasLtMatmulHeuristicResult_t* result, int* found) {
  memset(result, 0, sizeof *result);
  result->state = CUBLAS_STATUS_SUCCESS;
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmul(
    cublasLtHandle_t, cublasLtMatmulDesc_t d, const void*, const void*, cublasLtMatrixLayout_t a, const void*,
    cublasLtMatrixLayout_t, const void*, const void*, cublasLtMatrixLayout_t, void*, cublasLtMatrixLayout_t out,
    const cublasLtMatmulAlgo_t*, void*, size_t, cudaStream_t stream) {
  auto* product = (Product*)d;
  auto *left = (Layout*)a, *result = (Layout*)out;
  char name[160];
  snprintf(
      name, sizeof name, "%sgemmLt %s->%s m%llu n%llu k%llu batch %d epilogue %d",
      left->type == CUDA_R_32F ? "s" : "", type(left->type), type(result->type), result->rows, result->columns,
      product->transposed ? left->rows : left->columns, result->batch, product->epilogue);
  return null::launch(stream, "product", name) ? CUBLAS_STATUS_EXECUTION_FAILED : CUBLAS_STATUS_SUCCESS;
}
}
