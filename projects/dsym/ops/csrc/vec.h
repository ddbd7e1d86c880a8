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
template <typename V>
V sigmoid(V x) {
  return 1 / (1 + exp2(x * -decltype(x[0] + x[0])(kLog2E)));
}

// log(1 + exp(x)) = max(x, 0) + log(1 + y), y = exp(-|x|); the logarithm is
// 2 artanh(s), s = y / (2 + y) <= 1/3, whose series ends at s^15 / 15: what
// follows is below 3e-9 of it. Not a number stays that.
inline vf softplus(vf x) {
  const vf y = exp2((x < 0 ? x : -x) * float(kLog2E));
  const vf s = y / (2.f + y), q = s * s;
  vf p = vf{} + 1 / 15.f;
  p = p * q + 1 / 13.f;
  p = p * q + 1 / 11.f;
  p = p * q + 1 / 9.f;
  p = p * q + 1 / 7.f;
  p = p * q + 1 / 5.f;
  p = p * q + 1 / 3.f;
  p = p * q + 1.f;
  return (x < 0 ? vf{} : x) + 2.f * s * p;
}
inline vd softplus(vd x) {
  for (int64_t i = 0; i < kLanes<double>; i++)
    x[i] = (x[i] < 0 ? 0 : x[i]) + std::log1p(std::exp(-std::abs(x[i])));
  return x;
}

template <typename T>
const T* read(const at::Tensor& x) {
  return x.const_data_ptr<T>();
}
template <typename T>
T* write(const at::Tensor& x) {
  return x.mutable_data_ptr<T>();
}


// Calls f with a zero of the tensor's type, float or double.
template <typename F>
void with_type(const at::Tensor& x, const F& f) {
  if (x.scalar_type() == at::kDouble)
    f(double{});
  else
    f(float{});
}

// Rows of channels at a distance, as a slice of the channels has them.
template <typename T>
struct Rows {
  const T* data;
  int64_t stride;
  const T* at(int64_t row) const { return data + row * stride; }
};

// From row to row of (batch, rows, ...). The stride of a single row means
// nothing, also after contiguous(): then the images are the rows.
inline int64_t row_stride(const at::Tensor& x) {
  return x.stride(x.size(1) == 1 ? 0 : 1);
}

// What rows() can read, (batch, rows, ...): x itself or a copy of it.
inline at::Tensor regular(const at::Tensor& x) {
  bool good = x.numel() && (x.size(0) == 1 ||
                            x.stride(0) == x.size(1) * row_stride(x));
  int64_t inner = 1;
  for (int64_t dim = x.dim() - 1; dim > 1; dim--) {
    good = good && (x.size(dim) == 1 || x.stride(dim) == inner);
    inner *= x.size(dim);
  }
  return good ? x : x.contiguous();
}

template <typename T>
Rows<T> rows(const at::Tensor& x) {
  return {read<T>(x), row_stride(x)};
}

}  // namespace dsym
