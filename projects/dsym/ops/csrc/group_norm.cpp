// y = group_norm(x) or silu(group_norm(x)) of channels-last features, for
// inference: one pass for the moments and one for the values, an image a task,
// whose features stay in the cache between them. PyTorch has a kernel each for
// norm and activation.
//
// An image is a matrix of H*W rows of C channels; vectors run over channels.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
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
// Features of a block of rows, which stay in the nearest cache while vectors go
// down its channels. Sums of a block are in float, of all blocks in double.
constexpr int64_t kBlock = 8192;

template <typename T>
struct GroupNorm {
  int64_t rows, channels, groups;
  double eps;
  bool silu;
  const float *weight, *bias;

  // Calls f(first row, last row, first channel), a block after the other.
  template <typename F>
  void each_tile(const F& f) const {
    const int64_t block = std::max<int64_t>(1, kBlock / channels);
    for (int64_t first = 0; first < rows; first += block)
      for (int64_t c = 0; c < channels; c += kLanes)
        f(first, std::min(rows, first + block), c);
  }

  // Sums of a channel less its first value, and of the squares: a mean that is
  // large beside the deviation would take the digits of the squares' sum.
  void moments(const T* x, double* sums, double* squares, float* first) const {
    for (int64_t c = 0; c < channels; c += kLanes)
      store(first + c, load(x + c));
    each_tile([&](int64_t begin, int64_t end, int64_t c) {
      const vf origin = load(first + c);
      vf s = {}, q = {};
      for (int64_t r = begin; r < end; r++) {
        const vf v = load(x + r * channels + c) - origin;
        s += v;
        q += v * v;
      }
      for (int64_t i = 0; i < kLanes; i++) {
        sums[c + i] += s[i];
        squares[c + i] += q[i];
      }
    });
  }

  // What x is multiplied with and what is added to it, of each channel.
  void affine(const double* sums, const double* squares, const float* first,
              float* scale, float* shift) const {
    const int64_t width = channels / groups;
    const double count = double(rows) * width;
    for (int64_t begin = 0; begin < channels; begin += width) {
      double total = 0, around = 0;
      for (int64_t c = begin; c < begin + width; c++)
        total += sums[c] + rows * double(first[c]);
      const double mean = total / count;
      for (int64_t c = begin; c < begin + width; c++) {
        const double off = first[c] - mean;
        around += squares[c] + 2 * off * sums[c] + rows * off * off;
      }
      const double variance = std::max(0.0, around / count);
      const double inverse = 1 / std::sqrt(variance + eps);
      for (int64_t c = begin; c < begin + width; c++) {
        scale[c] = weight[c] * inverse;
        shift[c] = bias[c] - weight[c] * inverse * mean;
      }
    }
  }

  void operator()(const T* x, T* y) const {
    std::vector<double> sums(2 * channels);
    std::vector<float> factors(3 * channels);
    double* squares = sums.data() + channels;
    float *scale = factors.data(), *shift = scale + channels,
          *first = shift + channels;
    moments(x, sums.data(), squares, first);
    affine(sums.data(), squares, first, scale, shift);
    each_tile([&](int64_t begin, int64_t end, int64_t c) {
      const vf a = load(scale + c), b = load(shift + c);
      for (int64_t r = begin; r < end; r++) {
        const int64_t at = r * channels + c;
        const vf z = load(x + at) * a + b;
        store(y + at, silu ? z * dsym::sigmoid(z) : z);
      }
    });
  }
};

template <typename T>
void run(const Tensor& x, const Tensor& y, int64_t groups,
         const Tensor& weight, const Tensor& bias, double eps, bool silu) {
  const GroupNorm<T> norm{x.size(2) * x.size(3), x.size(1), groups, eps, silu,
                          read<float>(weight), read<float>(bias)};
  const int64_t image = norm.rows * norm.channels;
  at::parallel_for(0, x.size(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; n++)
      norm(read<T>(x) + n * image, write<T>(y) + n * image);
  });
}

Tensor group_norm(const Tensor& x, int64_t groups, const Tensor& weight,
                  const Tensor& bias, double eps, bool silu) {
  TORCH_CHECK(x.device().is_cpu() && x.dim() == 4 &&
                  (x.scalar_type() == at::kFloat ||
                   x.scalar_type() == at::kBFloat16),
              "group_norm wants a float32 or bfloat16 tensor (N, C, H, W) on "
              "a CPU");
  const int64_t channels = x.size(1);
  TORCH_CHECK(groups > 0 && channels % groups == 0 && channels % kLanes == 0,
              "group_norm wants channels in multiples of ", kLanes, " and of ",
              groups, " groups");
  for (const Tensor& tensor : {weight, bias})
    TORCH_CHECK(tensor.scalar_type() == at::kFloat &&
                    tensor.device().is_cpu() && tensor.numel() == channels,
                "group_norm wants a float32 weight and bias of a channel each");
  TORCH_CHECK(!at::GradMode::is_enabled() ||
                  !(x.requires_grad() || weight.requires_grad() ||
                    bias.requires_grad()),
              "group_norm has no gradient");
  const Tensor in = x.contiguous(at::MemoryFormat::ChannelsLast);
  const Tensor y = at::empty_like(in);
  if (x.scalar_type() == at::kBFloat16)
    run<BFloat16>(in, y, groups, weight.contiguous(), bias.contiguous(), eps,
                  silu);
  else
    run<float>(in, y, groups, weight.contiguous(), bias.contiguous(), eps,
               silu);
  return y;
}

TORCH_LIBRARY_FRAGMENT(dsym, m) {
  m.def(
      "group_norm(Tensor x, int groups, Tensor weight, Tensor bias, "
      "float eps, bool silu) -> Tensor",
      group_norm);
}

}  // namespace
