// Vectors of the compiler: right on every processor, fast with AVX2, AVX-512.

#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

namespace dsym {

// The processor's own width: GCC keeps wider vectors in memory, which made the
// operators here three times as slow with AVX2.
#ifdef __AVX512F__
constexpr int64_t kBytes = 64;
#elif defined(__AVX2__)
constexpr int64_t kBytes = 32;
#else  // SSE2, NEON
constexpr int64_t kBytes = 16;
#endif
typedef float vf __attribute__((vector_size(kBytes)));
typedef double vd __attribute__((vector_size(kBytes)));
typedef int32_t vi __attribute__((vector_size(kBytes)));
typedef uint32_t vu __attribute__((vector_size(kBytes)));
typedef uint16_t vh __attribute__((vector_size(kBytes / 2)));

template <typename T>
struct VecOf;
template <>
struct VecOf<float> {
  typedef vf type;
};
template <>
struct VecOf<double> {
  typedef vd type;
};
template <typename T>
using Vec = typename VecOf<T>::type;
template <typename T>
constexpr int64_t kLanes = kBytes / sizeof(T);

inline vf load(const float* p) {
  vf v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
inline vd load(const double* p) {
  vd v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
inline vf load(const at::BFloat16* p) {
  vh h;
  std::memcpy(&h, p, sizeof(h));
  return (vf)(__builtin_convertvector(h, vu) << 16);
}
inline void store(float* p, vf v) { std::memcpy(p, &v, sizeof(v)); }
inline void store(double* p, vd v) { std::memcpy(p, &v, sizeof(v)); }
inline void store(at::BFloat16* p, vf v) {  // to the nearest, ties to even
#ifdef __AVX512BF16__
  __m256bh h = _mm512_cvtneps_pbh((__m512)v);
#else
  vu bits = (vu)v;
  bits += 0x7fff + ((bits >> 16) & 1);
  vh h = __builtin_convertvector(bits >> 16, vh);
#endif
  std::memcpy(p, &h, sizeof(h));
}

template <typename T>
T sum(Vec<T> v) {
  T s = 0;
  for (int64_t i = 0; i < kLanes<T>; i++) s += v[i];
  return s;
}

// 2^x, 2 ulp; 0 below 2^-126 and finite above 2^127. Adding 1.5 * 2^23 rounds x
// to the integer that stands in the lowest bits of the sum.
inline vf exp2(vf x) {
  const vf low = vf{} - 126.f, high = vf{} + 127.f;
  const vf magic = vf{} + 12582912.f;
  const vi gone = x < low;
  x = x > high ? high : x;
  x = gone ? low : x;
  const vf shifted = x + magic;
  const vf f = x - (shifted - magic);
  // least maximum of the relative error on [-1/2, 1/2], 1e-7
  vf p = vf{} + 1.535336188e-4f;
  p = p * f + 1.339887440e-3f;
  p = p * f + 9.618437357e-3f;
  p = p * f + 5.550332471e-2f;
  p = p * f + 2.402264791e-1f;
  p = p * f + 6.931472028e-1f;
  p = p * f + 1.f;
  const vf y = (vf)((vi)p + ((vi)shifted << 23));
  return gone ? vf{} : y;
}
inline vd exp2(vd x) {
  vd y;
  for (int64_t i = 0; i < kLanes<double>; i++) y[i] = std::exp2(x[i]);
  return y;
}

constexpr double kLog2E = 1.4426950408889634;
inline vf sigmoid(vf x) { return 1.f / (1.f + exp2(x * -float(kLog2E))); }

template <typename T>
const T* read(const at::Tensor& x) {
  return x.const_data_ptr<T>();
}
template <typename T>
T* write(const at::Tensor& x) {
  return x.mutable_data_ptr<T>();
}

}  // namespace dsym
