// y = silu(sum_i batch_norm(x_i)) in training, of one or two channels-last
// tensors, with its gradient: two passes over the features forward and two
// backward, where PyTorch has a kernel each for norm, activation and gradients.
//
// A tensor (N, C, H, W) in channels-last order is a matrix of N*H*W rows of C
// channels. Rows are folded so that a row is a whole number of tiles.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <vector>

#include "vec.h"

namespace {

using at::BFloat16;
using at::Tensor;
using dsym::load;
using dsym::read;
using dsym::store;
using dsym::vf;
using dsym::write;

constexpr int64_t kLanes = dsym::kLanes<float>;
// With AVX-512 64 bytes of bfloat16, a cache line.
constexpr int64_t kTile = 2 * kLanes;

// Rows and channels of the folded matrix.
struct Shape {
  int64_t rows, channels, fold;

  explicit Shape(const Tensor& x) : channels(x.size(1)) {
    rows = x.numel() / channels;
    fold = kTile / std::gcd(kTile, channels);
    rows /= fold;
    channels *= fold;
  }
  static bool fits(const Tensor& x) {
    int64_t channels = x.size(1), rows = x.numel() / channels;
    return rows % (kTile / std::gcd(kTile, channels)) == 0;
  }
  // Calls f(first row, last row, first channel) on tiles, a block of rows
  // after the other, so that the block's lines stay in the nearest cache.
  template <typename F>
  void each_tile(const F& f) const {
    const int64_t block = std::max<int64_t>(1, 8192 / channels);
    const int64_t grain = std::max<int64_t>(1, 16384 / channels);
    at::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; r += block)
        for (int64_t c = 0; c < channels; c += kTile)
          f(r, std::min(end, r + block), c);
    });
  }
};

// Sums of each channel, of every thread on its own, in double over blocks.
struct Sums {
  int64_t channels, kinds;
  std::vector<double> parts;

  Sums(const Shape& shape, int64_t kinds)
      : channels(shape.channels),
        kinds(kinds),
        parts(at::get_num_threads() * kinds * channels) {}
  void add(int64_t kind, int64_t c, vf v) {
    double* p =
        &parts[(at::get_thread_num() * kinds + kind) * channels + c];
    for (int64_t i = 0; i < kLanes; i++) p[i] += v[i];
  }
  double get(int64_t kind, int64_t c, int64_t unfolded) const {
    double sum = 0;
    for (size_t t = 0; t < parts.size(); t += kinds * channels)
      for (int64_t i = c; i < channels; i += unfolded)
        sum += parts[t + kind * channels + i];
    return sum;
  }
};

// Repeats a channel's value in the folded row.
std::vector<float> spread(const Shape& shape, const float* values) {
  std::vector<float> out(shape.channels);
  const int64_t unfolded = shape.channels / shape.fold;
  for (int64_t c = 0; c < shape.channels; c++) out[c] = values[c % unfolded];
  return out;
}

// Sums of x - origin and of its squares. With zero as the origin the variance
// of what lies far from it would be a small difference of large sums.
template <typename T>
void moments(const Shape& shape, const T* x, const std::vector<float>& origin,
             Sums& sums) {
  shape.each_tile([&](int64_t begin, int64_t end, int64_t c) {
    vf s[2] = {}, q[2] = {};
    for (int64_t r = begin; r < end; r++)
      for (int64_t k = 0; k < 2; k++) {
        vf v = load(x + r * shape.channels + c + k * kLanes) -
               load(&origin[c + k * kLanes]);
        s[k] += v;
        q[k] += v * v;
      }
    for (int64_t k = 0; k < 2; k++) {
      sums.add(0, c + k * kLanes, s[k]);
      sums.add(1, c + k * kLanes, q[k]);
    }
  });
}

// sum_i x_i scale_i + shift at one place.
template <int N, typename T>
vf normalized(const std::array<const T*, N>& x, int64_t at,
              const vf (&scale)[N], vf shift) {
  vf z = shift;
  for (int i = 0; i < N; i++) z += load(x[i] + at) * scale[i];
  return z;
}

template <int N, typename T>
void forward(const Shape& shape, const std::array<const T*, N>& x, T* y,
             const std::array<std::vector<float>, N>& scales,
             const std::vector<float>& shifts) {
  shape.each_tile([&](int64_t begin, int64_t end, int64_t c) {
    for (int64_t k = c; k < c + kTile; k += kLanes) {
      vf scale[N], shift = load(&shifts[k]);
      for (int i = 0; i < N; i++) scale[i] = load(&scales[i][k]);
      for (int64_t r = begin; r < end; r++) {
        const int64_t at = r * shape.channels + k;
        vf z = normalized<N, T>(x, at, scale, shift);
        store(y + at, z * dsym::sigmoid(z));
      }
    }
  });
}

// dz of silu(z), and the sums of dz and of dz * (x_i - mean_i).
template <int N, typename T>
void backward_act(const Shape& shape, const std::array<const T*, N>& x,
                  const T* dy, T* dz,
                  const std::array<std::vector<float>, N>& means,
                  const std::array<std::vector<float>, N>& scales,
                  const std::vector<float>& shifts, Sums& sums) {
  shape.each_tile([&](int64_t begin, int64_t end, int64_t c) {
    for (int64_t k = c; k < c + kTile; k += kLanes) {
      vf mean[N], scale[N], shift = load(&shifts[k]), s = {}, q[N] = {};
      for (int i = 0; i < N; i++) {
        mean[i] = load(&means[i][k]);
        scale[i] = load(&scales[i][k]);
      }
      for (int64_t r = begin; r < end; r++) {
        const int64_t at = r * shape.channels + k;
        vf z = normalized<N, T>(x, at, scale, shift);
        vf e = dsym::sigmoid(z);
        vf g = load(dy + at) * e * (1.f + z * (1.f - e));
        store(dz + at, g);
        s += g;
        for (int i = 0; i < N; i++) q[i] += g * (load(x[i] + at) - mean[i]);
      }
      sums.add(0, k, s);
      for (int i = 0; i < N; i++) sums.add(1 + i, k, q[i]);
    }
  });
}

// dx = a dz + b x + d, a channel's three numbers; dz and dx may be one.
template <typename T>
void affine(const Shape& shape, const T* dz, const T* x, T* dx,
            const std::vector<float>& a, const std::vector<float>& b,
            const std::vector<float>& d) {
  shape.each_tile([&](int64_t begin, int64_t end, int64_t c) {
    for (int64_t k = c; k < c + kTile; k += kLanes) {
      const vf ak = load(&a[k]), bk = load(&b[k]), dk = load(&d[k]);
      for (int64_t r = begin; r < end; r++) {
        const int64_t at = r * shape.channels + k;
        store(dx + at, load(dz + at) * ak + load(x + at) * bk + dk);
      }
    }
  });
}

// What the gradient needs: mean, 1 / deviation, scale and shift of an input.
enum { kMean, kInverse, kScale, kShift, kStatistics };

template <int N, typename T>
Tensor forward_of(const std::array<Tensor, N>& x,
                  const std::array<Tensor, N>& weight,
                  const std::array<Tensor, N>& bias,
                  const std::array<Tensor, N>& running_mean,
                  const std::array<Tensor, N>& running_var,
                  const std::array<Tensor, N>& statistics, double momentum,
                  double eps) {
  const Shape shape(x[0]);
  const int64_t channels = x[0].size(1), count = x[0].numel() / channels;
  std::array<const T*, N> in;
  std::array<std::vector<float>, N> scales;
  std::vector<float> shift(channels);
  for (int i = 0; i < N; i++) {
    in[i] = read<T>(x[i]);
    Sums sums(shape, 2);
    // the first place of each channel
    const std::vector<float> origin(in[i], in[i] + channels);
    moments<T>(shape, in[i], spread(shape, origin.data()), sums);
    float* found = write<float>(statistics[i]);
    float* mean = write<float>(running_mean[i]);
    float* var = write<float>(running_var[i]);
    for (int64_t c = 0; c < channels; c++) {
      const double off = sums.get(0, c, channels) / count;
      const double m = origin[c] + off;
      const double v =
          std::max(0.0, sums.get(1, c, channels) / count - off * off);
      const double inverse = 1 / std::sqrt(v + eps);
      const double scale = read<float>(weight[i])[c] * inverse;
      found[kMean * channels + c] = m;
      found[kInverse * channels + c] = inverse;
      found[kScale * channels + c] = scale;
      shift[c] += read<float>(bias[i])[c] - m * scale;
      mean[c] += momentum * (m - mean[c]);
      var[c] += momentum * (v * count / (count - 1) - var[c]);
    }
    scales[i] = spread(shape, found + kScale * channels);
  }
  std::memcpy(write<float>(statistics[0]) + kShift * channels,
              shift.data(), channels * sizeof(float));
  Tensor y = at::empty_like(x[0]);
  forward<N, T>(shape, in, write<T>(y), scales,
                spread(shape, shift.data()));
  return y;
}

template <int N, typename T>
void backward_of(const std::array<Tensor, N>& x, const Tensor& dy,
                 const std::array<Tensor, N>& weight,
                 const std::array<Tensor, N>& statistics,
                 const std::array<Tensor, N>& dx,
                 const std::array<Tensor, N>& dweight,
                 const std::array<Tensor, N>& dbias) {
  const Shape shape(x[0]);
  const int64_t channels = x[0].size(1), count = x[0].numel() / channels;
  std::array<const T*, N> in;
  std::array<std::vector<float>, N> means, scales;
  for (int i = 0; i < N; i++) {
    const float* found = read<float>(statistics[i]);
    in[i] = read<T>(x[i]);
    means[i] = spread(shape, found + kMean * channels);
    scales[i] = spread(shape, found + kScale * channels);
  }
  Sums sums(shape, 1 + N);
  T* dz = write<T>(dx[0]);
  backward_act<N, T>(
      shape, in, read<T>(dy), dz, means, scales,
      spread(shape,
             read<float>(statistics[0]) + kShift * channels),
      sums);
  // The first input's gradient overwrites dz, so it comes last.
  for (int i = N - 1; i >= 0; i--) {
    const float* found = read<float>(statistics[i]);
    std::vector<float> a(channels), b(channels), d(channels);
    for (int64_t c = 0; c < channels; c++) {
      const double mean = found[kMean * channels + c];
      const double inverse = found[kInverse * channels + c];
      const double s = sums.get(0, c, channels);
      const double q = sums.get(1 + i, c, channels) * inverse;
      write<float>(dbias[i])[c] = s;
      write<float>(dweight[i])[c] = q;
      // scale (dz - s / count - (x - mean) inverse q / count)
      a[c] = read<float>(weight[i])[c] * inverse;
      b[c] = -a[c] * inverse * q / count;
      d[c] = -a[c] * s / count - b[c] * mean;
    }
    affine<T>(shape, dz, in[i], write<T>(dx[i]),
              spread(shape, a.data()), spread(shape, b.data()),
              spread(shape, d.data()));
  }
}

template <int N>
struct BNSiLU : torch::autograd::Function<BNSiLU<N>> {
  using Context = torch::autograd::AutogradContext;
  using List = torch::autograd::variable_list;
  using Inputs = std::array<Tensor, N>;

  // Tensors: x, weight, bias of each input.
  template <typename... Tensors>
  static Tensor forward(Context* ctx, const List& running, double momentum,
                        double eps, const Tensors&... tensors) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const std::array<Tensor, 3 * N> given = {tensors...};
    Inputs x, weight, bias, mean, var, statistics;
    List saved;
    for (int i = 0; i < N; i++) {
      x[i] = given[3 * i], weight[i] = given[3 * i + 1];
      bias[i] = given[3 * i + 2];
      mean[i] = running[2 * i], var[i] = running[2 * i + 1];
      statistics[i] = at::empty({kStatistics, x[i].size(1)},
                                weight[i].options());
      saved.insert(saved.end(), {x[i], weight[i], statistics[i]});
    }
    ctx->save_for_backward(saved);
    return x[0].scalar_type() == at::kBFloat16
               ? forward_of<N, BFloat16>(x, weight, bias, mean, var,
                                         statistics, momentum, eps)
               : forward_of<N, float>(x, weight, bias, mean, var, statistics,
                                      momentum, eps);
  }

  static List backward(Context* ctx, List gradients) {
    TORCH_CHECK(!at::GradMode::is_enabled(),
                "bn_silu has no second derivative");
    const List saved = ctx->get_saved_variables();
    Inputs x, weight, statistics, dx, dweight, dbias;
    List out(3);  // nothing for running, momentum and eps
    for (int i = 0; i < N; i++) {
      x[i] = saved[3 * i], weight[i] = saved[3 * i + 1];
      statistics[i] = saved[3 * i + 2];
      dx[i] = at::empty_like(x[i]);
      dweight[i] = at::empty_like(weight[i]);
      dbias[i] = at::empty_like(weight[i]);
      out.insert(out.end(), {dx[i], dweight[i], dbias[i]});
    }
    const Tensor dy = gradients[0]
                          .to(x[0].scalar_type())
                          .contiguous(at::MemoryFormat::ChannelsLast);
    if (x[0].scalar_type() == at::kBFloat16)
      backward_of<N, BFloat16>(x, dy, weight, statistics, dx, dweight, dbias);
    else
      backward_of<N, float>(x, dy, weight, statistics, dx, dweight, dbias);
    return out;
  }
};

void check(const Tensor& x, const Tensor& like) {
  TORCH_CHECK(x.device().is_cpu() && x.dim() == 4 &&
                  x.sizes() == like.sizes() &&
                  x.scalar_type() == like.scalar_type() &&
                  (x.scalar_type() == at::kFloat ||
                   x.scalar_type() == at::kBFloat16),
              "bn_silu wants float32 or bfloat16 tensors (N, C, H, W) on a "
              "CPU, all of one shape");
  TORCH_CHECK(Shape::fits(x), "bn_silu wants N*H*W to be a multiple of ",
              kTile / std::gcd(kTile, x.size(1)), " at ", x.size(1),
              " channels");
}

Tensor bn_silu(const Tensor& x, const Tensor& weight, const Tensor& bias,
               Tensor mean, Tensor var, double momentum, double eps) {
  check(x, x);
  return BNSiLU<1>::apply(torch::autograd::variable_list{mean, var}, momentum,
                          eps, x.contiguous(at::MemoryFormat::ChannelsLast),
                          weight, bias);
}

Tensor bn2_silu(const Tensor& x0, const Tensor& weight0, const Tensor& bias0,
                Tensor mean0, Tensor var0, const Tensor& x1,
                const Tensor& weight1, const Tensor& bias1, Tensor mean1,
                Tensor var1, double momentum, double eps) {
  check(x0, x0);
  check(x1, x0);
  return BNSiLU<2>::apply(
      torch::autograd::variable_list{mean0, var0, mean1, var1}, momentum, eps,
      x0.contiguous(at::MemoryFormat::ChannelsLast), weight0, bias0,
      x1.contiguous(at::MemoryFormat::ChannelsLast), weight1, bias1);
}

TORCH_LIBRARY_FRAGMENT(dsym, m) {
  m.def(
      "bn_silu(Tensor x, Tensor weight, Tensor bias, Tensor(a!) mean, "
      "Tensor(b!) var, float momentum, float eps) -> Tensor",
      bn_silu);
  m.def(
      "bn2_silu(Tensor x0, Tensor weight0, Tensor bias0, Tensor(a!) mean0, "
      "Tensor(b!) var0, Tensor x1, Tensor weight1, Tensor bias1, "
      "Tensor(c!) mean1, Tensor(d!) var1, float momentum, float eps) -> "
      "Tensor",
      bn2_silu);
}

}  // namespace
