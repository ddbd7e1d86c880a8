// What follows a backward pass, for many tensors of a small detector at once:
// Muon's momentum and step, the average of the weights, the clipping of gradients. Most of
// hundreds of tensors hold a few dozen numbers, so that a PyTorch call for each
// costs more than its arithmetic.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>
#include <vector>

#include "vec.h"

namespace {

using at::Tensor;
using at::TensorList;

// Threads take the next item when they are done with one, the largest first.
template <typename Cost, typename F>
void each(int64_t count, const Cost& cost, const F& f) {
  std::vector<int64_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return cost(a) > cost(b);
  });
  std::atomic<int64_t> next{0};
  at::parallel_for(0, at::get_num_threads(), 1, [&](int64_t, int64_t) {
    for (int64_t i = next++; i < count; i = next++) f(order[i]);
  });
}

void check(const Tensor& x) {
  TORCH_CHECK(x.device().is_cpu() && x.scalar_type() == at::kFloat &&
                  x.is_non_overlapping_and_dense(),
              "wants dense float32 tensors on a CPU");
}

double sum_of_squares(const float* x, int64_t size) {
  constexpr int64_t lanes = dsym::kLanes<float>;
  dsym::vf sums[4] = {};
  int64_t j = 0;
  for (; j + 4 * lanes <= size; j += 4 * lanes)
    for (int64_t k = 0; k < 4; k++) {
      const dsym::vf v = dsym::load(x + j + k * lanes);
      sums[k] += v * v;
    }
  double sum = 0;
  for (const auto& part : sums) sum += dsym::sum<float>(part);
  for (; j < size; j++) sum += double(x[j]) * x[j];
  return sum;
}

// The numbers of x in the memory order of like.
Tensor ordered_as(const Tensor& x, const Tensor& like) {
  if (x.strides() == like.strides()) return x;
  Tensor y = at::empty_like(like);
  return y.copy_(x);
}

void check_layers(TensorList layers, const Tensor& matrices) {
  TORCH_CHECK(matrices.is_contiguous() && matrices.dim() == 3 &&
                  matrices.size(0) == int64_t(layers.size()),
              "wants a matrix a layer");
  check(matrices);
  for (const Tensor& x : layers) {
    check(x);
    TORCH_CHECK(x.size(0) == matrices.size(1) &&
                    x.numel() == matrices.stride(0) &&
                    x.stride(0) == matrices.stride(1),
                "wants layers of one shape, their rows neighbours in memory");
  }
}

// buffer = lerp(grad, buffer, momentum) and matrix = lerp(grad, buffer,
// momentum), which is Nesterov's look ahead.
void muon_look_ahead(TensorList grads, TensorList buffers, Tensor matrices,
                     double momentum) {
  check_layers(buffers, matrices);
  const float beta = momentum, rest = 1 - momentum;
  const int64_t size = matrices.stride(0);
  std::vector<Tensor> ordered(grads.size());
  for (size_t i = 0; i < grads.size(); i++) {
    check(grads[i]);
    ordered[i] = ordered_as(grads[i], buffers[i]);
  }
  at::parallel_for(0, grads.size(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      const float* grad = ordered[i].const_data_ptr<float>();
      float* buffer = buffers[i].mutable_data_ptr<float>();
      float* matrix = matrices.mutable_data_ptr<float>() + i * size;
      for (int64_t j = 0; j < size; j++) {
        buffer[j] += rest * (grad[j] - buffer[j]);
        matrix[j] = grad[j] + beta * (buffer[j] - grad[j]);
      }
    }
  });
}

// weight = keep weight - step matrix
void muon_apply(TensorList weights, const Tensor& matrices, double step,
                double keep) {
  check_layers(weights, matrices);
  const float s = step, k = keep;
  const int64_t size = matrices.stride(0);
  at::parallel_for(0, weights.size(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      float* weight = weights[i].mutable_data_ptr<float>();
      const float* matrix = matrices.const_data_ptr<float>() + i * size;
      for (int64_t j = 0; j < size; j++)
        weight[j] = k * weight[j] - s * matrix[j];
    }
  });
}

void lerp(TensorList averages, TensorList sources, double momentum) {
  const int64_t count = averages.size();
  for (int64_t i = 0; i < count; i++) {
    check(averages[i]), check(sources[i]);
    TORCH_CHECK(averages[i].strides() == sources[i].strides(),
                "lerp wants one memory order");
  }
  const float m = momentum;
  each(
      count, [&](int64_t i) { return averages[i].numel(); },
      [&](int64_t i) {
        float* average = averages[i].mutable_data_ptr<float>();
        const float* source = sources[i].const_data_ptr<float>();
        const int64_t numel = averages[i].numel();
        for (int64_t j = 0; j < numel; j++)
          average[j] += m * (source[j] - average[j]);
      });
}

double clip_norm(TensorList grads, double max_norm) {
  const int64_t count = grads.size();
  std::vector<double> squares(count);
  for (const Tensor& grad : grads) check(grad);
  const auto cost = [&](int64_t i) { return grads[i].numel(); };
  each(count, cost, [&](int64_t i) {
    squares[i] =
        sum_of_squares(grads[i].const_data_ptr<float>(), grads[i].numel());
  });
  const double norm =
      std::sqrt(std::accumulate(squares.begin(), squares.end(), 0.0));
  const float scale = max_norm / (norm + 1e-6);
  if (!(scale >= 1))
    each(count, cost, [&](int64_t i) {
      float* x = grads[i].mutable_data_ptr<float>();
      const int64_t numel = grads[i].numel();
      for (int64_t j = 0; j < numel; j++) x[j] *= scale;
    });
  return norm;
}

TORCH_LIBRARY_FRAGMENT(dsym, m) {
  m.def(
      "muon_look_ahead(Tensor[] grads, Tensor(a!)[] buffers, "
      "Tensor(b!) matrices, float momentum) -> ()",
      muon_look_ahead);
  m.def(
      "muon_apply(Tensor(a!)[] weights, Tensor matrices, float step, "
      "float keep) -> ()",
      muon_apply);
  m.def("lerp_(Tensor(a!)[] averages, Tensor[] sources, float momentum) -> ()",
        lerp);
  m.def("clip_norm_(Tensor(a!)[] grads, float max_norm) -> float", clip_norm);
}

}  // namespace
