// Mamba's depthwise convolution over the tokens before, with its SiLU:
//
//   p_t = bias + sum_k w_k x_{t - K + 1 + k},    y_t = p_t sigmoid(p_t)
//
// Tokens are rows of channels, so that vectors run over channels; a sequence
// is cut into parts of kPart tokens, so that one long sequence has work for
// all threads and what backward keeps of a part stays in the cache.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <algorithm>
#include <vector>

#include "vec.h"

namespace {

using at::Tensor;
using dsym::kLanes;
using dsym::load;
using dsym::read;
using dsym::Rows;
using dsym::rows;
using dsym::sigmoid;
using dsym::store;
using dsym::Vec;
using dsym::with_type;
using dsym::write;

constexpr int64_t kPart = 128;

// x, y: (batch, length, channels); w: (width, channels); bias: (channels).
template <typename T>
struct Conv {
  using V = Vec<T>;
  static constexpr int64_t lanes = kLanes<T>;
  int64_t batch, length, channels, width, parts;
  Rows<T> x;
  const T *w, *bias;

  Conv(const Tensor& x, const Tensor& w, const Tensor& bias)
      : batch(x.size(0)), length(x.size(1)), channels(x.size(2)),
        width(w.size(0)), parts((x.size(1) + kPart - 1) / kPart),
        x(rows<T>(x)), w(read<T>(w)), bias(read<T>(bias)) {}

  // p_t of the sequence that begins at a row.
  V before_silu(int64_t row, int64_t t, int64_t d) const {
    V p = load(bias + d);
    for (int64_t k = std::max<int64_t>(0, width - 1 - t); k < width; k++)
      p += load(w + k * channels + d) *
           load(x.at(row + t - width + 1 + k) + d);
    return p;
  }

  // f(part, first row of the sequence, first and last token)
  template <typename F>
  void for_parts(const F& f) const {
    at::parallel_for(0, batch * parts, 1, [&](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; part++) {
        const int64_t first = part % parts * kPart;
        f(part, part / parts * length, first,
          std::min(first + kPart, length));
      }
    });
  }

  void forward(T* y) const {
    for_parts([&](int64_t, int64_t row, int64_t first, int64_t last) {
      for (int64_t t = first; t < last; t++)
        for (int64_t d = 0; d < channels; d += lanes) {
          const V p = before_silu(row, t, d);
          store(y + (row + t) * channels + d, p * sigmoid(p));
        }
    });
  }

  // dw: (batch * parts, width, channels), dbias: (batch * parts, channels),
  // both zeros; the caller sums them.
  void backward(const T* dy, T* dx, T* dw, T* dbias) const {
    for_parts([&](int64_t part, int64_t row, int64_t first, int64_t last) {
      // of p, which the inputs up to the last token of the part went into
      const int64_t stop = std::min(last + width - 1, length);
      std::vector<T> dp((stop - first) * channels);
      for (int64_t t = first; t < stop; t++)
        for (int64_t d = 0; d < channels; d += lanes) {
          const V p = before_silu(row, t, d), s = sigmoid(p);
          const V grad = load(dy + (row + t) * channels + d) * s *
                         (T(1) + p * (T(1) - s));
          store(dp.data() + (t - first) * channels + d, grad);
          if (t >= last) continue;
          T* bias_row = dbias + part * channels + d;
          store(bias_row, load(bias_row) + grad);
          for (int64_t k = std::max<int64_t>(0, width - 1 - t); k < width;
               k++) {
            T* to = dw + (part * width + k) * channels + d;
            store(to, load(to) +
                          grad * load(x.at(row + t - width + 1 + k) + d));
          }
        }
      for (int64_t t = first; t < last; t++)
        for (int64_t d = 0; d < channels; d += lanes) {
          V sum = {};
          for (int64_t k = std::max<int64_t>(0, t + width - stop); k < width;
               k++)
            sum += load(w + k * channels + d) *
                   load(dp.data() +
                        (t - first + width - 1 - k) * channels + d);
          store(dx + (row + t) * channels + d, sum);
        }
    });
  }
};

using Context = torch::autograd::AutogradContext;
using List = torch::autograd::variable_list;

struct CausalConv : torch::autograd::Function<CausalConv> {
  static Tensor forward(Context* ctx, const Tensor& x, const Tensor& w,
                        const Tensor& bias) {
    at::AutoDispatchBelowADInplaceOrView guard;
    Tensor y = at::empty(x.sizes(), x.options());
    with_type(x, [&](auto zero) {
      using T = decltype(zero);
      Conv<T>(x, w, bias).forward(write<T>(y));
    });
    ctx->save_for_backward({x, w, bias});
    return y;
  }

  static List backward(Context* ctx, List gradients) {
    TORCH_CHECK(!at::GradMode::is_enabled(),
                "causal_conv has no second derivative");
    const List saved = ctx->get_saved_variables();
    const Tensor dy = gradients[0].contiguous();
    Tensor dx = at::empty_like(dy), dw, dbias;
    with_type(dy, [&](auto zero) {
      using T = decltype(zero);
      const Conv<T> conv(saved[0], saved[1], saved[2]);
      const int64_t parts = conv.batch * conv.parts;
      dw = at::zeros({parts, conv.width, conv.channels}, dy.options());
      dbias = at::zeros({parts, conv.channels}, dy.options());
      conv.backward(read<T>(dy), write<T>(dx), write<T>(dw),
                    write<T>(dbias));
    });
    return {dx, dw.sum(0), dbias.sum(0)};
  }
};

Tensor causal_conv_silu(const Tensor& x, const Tensor& w, const Tensor& bias) {
  const auto type = x.scalar_type();
  TORCH_CHECK(type == at::kFloat || type == at::kDouble,
              "causal_conv_silu wants float32 or float64");
  for (const Tensor& tensor : {x, w, bias})
    TORCH_CHECK(tensor.scalar_type() == type && tensor.device().is_cpu(),
                "causal_conv_silu wants CPU tensors of one type");
  TORCH_CHECK(x.dim() == 3 && w.dim() == 2 && w.size(1) == x.size(2) &&
                  bias.numel() == x.size(2),
              "causal_conv_silu: shapes do not agree");
  const int64_t lanes =
      type == at::kFloat ? kLanes<float> : kLanes<double>;
  TORCH_CHECK(x.size(2) % lanes == 0,
              "causal_conv_silu wants channels in multiples of ", lanes);
  return CausalConv::apply(dsym::regular(x), w.contiguous(),
                           bias.contiguous());
}

TORCH_LIBRARY_FRAGMENT(dsym, m) {
  m.def("causal_conv_silu(Tensor x, Tensor w, Tensor bias) -> Tensor",
        causal_conv_silu);
}

}  // namespace
