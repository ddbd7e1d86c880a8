// The Mamba-1 recurrence and its gradient on a CPU:
//
//   h_t = exp(delta_t A) h_{t-1} + delta_t u_t B_t
//   y_t = (C_t h_t + D u_t) silu(z_t),    delta_t = softplus(step_t + bias)
//
// without the softplus or the gate silu(z) where they are not asked for.
// Vectors run over channels, so that a state never has to be summed across a
// vector, and the N states of a vector of channels stay in registers or in the
// nearest cache. Forward keeps the states before every kChunk-th token;
// backward computes the others again, a chunk at a time: memory grows with
// L D (1 + N / kChunk), not with L D N.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/ivalue.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <algorithm>
#include <functional>
#include <tuple>
#include <utility>
#include <vector>

#include "vec.h"

namespace {

using at::Tensor;
// std::optional, or before torch 2.4 an optional of its own.
using MaybeTensor = decltype(std::declval<at::IValue>().toOptional<Tensor>());
using dsym::exp2;
using dsym::kLanes;
using dsym::load;
using dsym::read;
using dsym::Rows;
using dsym::rows;
using dsym::sigmoid;
using dsym::softplus;
using dsym::store;
using dsym::Vec;
using dsym::with_type;
using dsym::write;

constexpr int64_t kChunk = 64;

// u, steps, z, y: (batch, length, channels); A: (states, channels);
// B, C: (batch, length, groups, states); D, bias: (channels). A group's
// channels are neighbours.
struct Sizes {
  int64_t batch, length, channels, states, groups, chunks;

  Sizes(const Tensor& u, const Tensor& A, const Tensor& B)
      : batch(u.size(0)),
        length(u.size(1)),
        channels(u.size(2)),
        states(A.size(0)),
        groups(B.size(2)),
        chunks((u.size(1) + kChunk - 1) / kChunk) {}
  int64_t checkpoint(int64_t b, int64_t chunk, int64_t d) const {
    return (b * chunks + chunk) * states * channels + d;
  }
};

// Calls f with the number of states as a constant where it is a usual one, so
// that loops over states unroll into registers; else with 0.
template <typename F>
void with_states(int64_t states, const F& f) {
  if (states == 16)
    f(std::integral_constant<int, 16>{});
  else if (states == 8)
    f(std::integral_constant<int, 8>{});
  else
    f(std::integral_constant<int, 0>{});
}

template <typename T>
struct Inputs {
  Rows<T> u, steps, B, C, z;  // z.data is null without a gate
  const T *A, *D, *bias;
  bool positive;  // steps by softplus

  // A step before its softplus, and the step.
  Vec<T> raw(int64_t row, int64_t d) const {
    return load(steps.at(row) + d) + load(bias + d);
  }
  Vec<T> step(Vec<T> raw) const { return positive ? softplus(raw) : raw; }
};

template <typename T, int N>
void forward(const Sizes& s, const Inputs<T>& in, T* y, T* last,
             T* checkpoints) {
  using V = Vec<T>;
  constexpr int64_t lanes = kLanes<T>;
  const int64_t blocks = s.channels / lanes;
  const int64_t states = N ? N : s.states;
  at::parallel_for(0, s.batch * blocks, 1, [&](int64_t begin, int64_t end) {
    std::vector<V> memory(N ? 0 : 2 * states);
    V fixed[N ? 2 * N : 1];
    V* h = N ? fixed : memory.data();
    V* rate = h + states;
    for (int64_t task = begin; task < end; task++) {
      const int64_t b = task / blocks, d = task % blocks * lanes;
      const int64_t g = d / (s.channels / s.groups);
      for (int64_t n = 0; n < states; n++) {
        h[n] = V{};
        rate[n] = load(in.A + n * s.channels + d) * T(dsym::kLog2E);
      }
      const V skip = load(in.D + d);
      for (int64_t t = 0; t < s.length; t++) {
        if (checkpoints && t % kChunk == 0)
          for (int64_t n = 0; n < states; n++)
            store(checkpoints + s.checkpoint(b, t / kChunk, d) +
                      n * s.channels,
                  h[n]);
        const int64_t row = b * s.length + t;
        const T *B = in.B.at(row) + g * states, *C = in.C.at(row) + g * states;
        const V step = in.step(in.raw(row, d)), u = load(in.u.at(row) + d);
        const V x = step * u;
        V out = skip * u;
        for (int64_t n = 0; n < states; n++) {
          h[n] = exp2(step * rate[n]) * h[n] + x * B[n];
          out += h[n] * C[n];
        }
        if (in.z.data) {
          const V z = load(in.z.at(row) + d);
          out *= z * sigmoid(z);
        }
        store(y + row * s.channels + d, out);
      }
      for (int64_t n = 0; n < states; n++)
        store(last + (b * states + n) * s.channels + d, h[n]);
    }
  });
}

template <typename T>
struct Gradients {
  T *u, *steps, *z, *A, *B, *C, *D, *bias;
};

// A part's share of one image's gradient: the blocks of channels from first to
// last. A, D, bias get one row, B and C one copy a part; the caller sums them.
template <typename T, int N>
class Backward {
  using V = Vec<T>;
  static constexpr int64_t lanes = kLanes<T>;

 public:
  Backward(const Sizes& s, const Inputs<T>& in, const T* checkpoints,
           const T* dy)
      : s(s), in(in), checkpoints(checkpoints), dy(dy),
        states(N ? N : s.states), decay(kChunk * states),
        h((kChunk + 1) * states), dB(kChunk * states), dC(kChunk * states),
        steps(kChunk), slopes(kChunk) {}

  // The pointers of out are the part's own.
  void run(int64_t b, int64_t first, int64_t last, const Gradients<T>& out) {
    const int64_t width = s.channels / s.groups / lanes;
    dh.assign((last - first) * states, V{});
    dA.assign((last - first) * states, V{});
    dD.assign(last - first, V{});
    dbias.assign(last - first, V{});
    for (int64_t chunk = s.chunks - 1; chunk >= 0; chunk--) {
      const int64_t begin = chunk * kChunk;
      const int64_t count = std::min(kChunk, s.length - begin);
      for (int64_t block = first; block < last;) {
        const int64_t g = block / width;
        const int64_t stop = std::min(last, (g + 1) * width);
        std::fill(dB.begin(), dB.end(), V{});
        std::fill(dC.begin(), dC.end(), V{});
        for (; block < stop; block++)
          one_block(b, chunk, count, g, block * lanes, block - first, out);
        for (int64_t t = 0; t < count; t++)
          for (int64_t n = 0; n < states; n++) {
            const int64_t at = ((begin + t) * s.groups + g) * states + n;
            out.B[at] = dsym::sum<T>(dB[t * states + n]);
            out.C[at] = dsym::sum<T>(dC[t * states + n]);
          }
      }
    }
    for (int64_t i = 0; i < last - first; i++) {
      const int64_t d = (first + i) * lanes;
      for (int64_t n = 0; n < states; n++)
        store(out.A + n * s.channels + d, dA[i * states + n]);
      store(out.D + d, dD[i]);
      store(out.bias + d, dbias[i]);
    }
  }

 private:
  void one_block(int64_t b, int64_t chunk, int64_t count, int64_t g,
                 int64_t d, int64_t i, const Gradients<T>& out) {
    const int64_t begin = b * s.length + chunk * kChunk;
    V rate[N ? N : 1];
    auto rate_of = [&](int64_t n) {
      return N ? rate[n] : load(in.A + n * s.channels + d);
    };
    if (N)
      for (int64_t n = 0; n < states; n++)
        rate[n] = load(in.A + n * s.channels + d);
    for (int64_t n = 0; n < states; n++)
      h[n] = load(checkpoints + s.checkpoint(b, chunk, d) + n * s.channels);
    for (int64_t t = 0; t < count; t++) {
      const int64_t row = begin + t;
      const T* B = in.B.at(row) + g * states;
      const V raw = in.raw(row, d), step = in.step(raw);
      steps[t] = step;
      slopes[t] = in.positive ? sigmoid(raw) : V{} + T(1);
      const V x = step * load(in.u.at(row) + d);
      V* before = &h[t * states];
      V* a = &decay[t * states];
      for (int64_t n = 0; n < states; n++) {
        a[n] = exp2(step * rate_of(n) * T(dsym::kLog2E));
        before[states + n] = a[n] * before[n] + x * B[n];
      }
    }
    const V skip = load(in.D + d);
    V* carry = &dh[i * states];
    V* sum_A = &dA[i * states];
    for (int64_t t = count - 1; t >= 0; t--) {
      const int64_t row = begin + t, at = row * s.channels + d;
      const T *B = in.B.at(row) + g * states, *C = in.C.at(row) + g * states;
      const V u = load(in.u.at(row) + d), step = steps[t], x = step * u;
      const V* before = &h[t * states];
      V grad = load(dy + at);
      if (in.z.data) {
        const V z = load(in.z.at(row) + d), gate = sigmoid(z);
        V y = skip * u;
        for (int64_t n = 0; n < states; n++) y += before[states + n] * C[n];
        store(out.z + at, grad * y * gate * (T(1) + z * (T(1) - gate)));
        grad *= z * gate;
      }
      V dx = {}, dstep = {};
      for (int64_t n = 0; n < states; n++) {
        const V gh = carry[n] + grad * C[n];
        dC[t * states + n] += grad * before[states + n];
        dB[t * states + n] += gh * x;
        dx += gh * B[n];
        carry[n] = gh * decay[t * states + n];
        const V rate_grad = carry[n] * before[n];  // of delta_t A
        dstep += rate_grad * rate_of(n);
        sum_A[n] += rate_grad * step;
      }
      dD[i] += grad * u;
      dstep = (dstep + dx * u) * slopes[t];
      dbias[i] += dstep;
      store(out.u + at, skip * grad + dx * step);
      store(out.steps + at, dstep);
    }
  }

  const Sizes& s;
  const Inputs<T>& in;
  const T *checkpoints, *dy;
  const int64_t states;
  std::vector<V> decay, h, dB, dC, steps, slopes, dh, dA, dD, dbias;
};

using Context = torch::autograd::AutogradContext;
using List = torch::autograd::variable_list;

// An autograd function wants a tensor where there is no gate.
bool is_gate(const Tensor& z) { return z.dim() == 3; }

// In the order of the operator's arguments.
template <typename T>
Inputs<T> inputs(const List& x, bool positive) {
  return {rows<T>(x[0]), rows<T>(x[1]), rows<T>(x[3]), rows<T>(x[4]),
          is_gate(x[6]) ? rows<T>(x[6]) : Rows<T>{nullptr, 0},
          read<T>(x[2]), read<T>(x[5]), read<T>(x[7]), positive};
}

struct SelectiveScan : torch::autograd::Function<SelectiveScan> {
  static List forward(Context* ctx, const Tensor& u, const Tensor& steps,
                      const Tensor& A, const Tensor& B, const Tensor& C,
                      const Tensor& D, const Tensor& z, const Tensor& bias,
                      bool positive, bool keep) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const List x = {u, steps, A, B, C, D, z, bias};
    const Sizes s(u, A, B);
    Tensor y = at::empty(u.sizes(), u.options());
    Tensor last = at::empty({s.batch, s.states, s.channels}, u.options());
    Tensor checkpoints;
    if (keep)
      checkpoints =
          at::empty({s.batch, s.chunks, s.states, s.channels}, u.options());
    with_type(u, [&](auto zero) {
      using T = decltype(zero);
      with_states(s.states, [&](auto n) {
        ::forward<T, n>(s, inputs<T>(x, positive), write<T>(y), write<T>(last),
                        keep ? write<T>(checkpoints) : nullptr);
      });
    });
    if (keep) {
      ctx->save_for_backward({u, steps, A, B, C, D, z, bias, checkpoints});
      ctx->saved_data["positive"] = positive;
    }
    ctx->mark_non_differentiable({last});
    return {y, last};
  }

  static List backward(Context* ctx, List gradients) {
    TORCH_CHECK(!at::GradMode::is_enabled(),
                "selective_scan has no second derivative");
    const List saved = ctx->get_saved_variables();
    TORCH_CHECK(saved.size() == 9, "selective_scan kept nothing to go back");
    const bool positive = ctx->saved_data["positive"].toBool();
    const Tensor dy = gradients[0].contiguous();
    List out;
    with_type(dy, [&](auto zero) {
      out = run<decltype(zero)>(saved, positive, dy);
    });
    out.resize(10);  // none of the two flags
    return out;
  }

  // The gradients in the order of the arguments.
  template <typename T>
  static List run(const List& saved, bool positive, const Tensor& dy) {
    const Sizes s(saved[0], saved[2], saved[3]);
    const int64_t blocks = s.channels / kLanes<T>;
    const int64_t threads = at::get_num_threads();
    // Each part has gradients of B and C of its own, no larger than that of u.
    const int64_t room = s.channels / (s.groups * s.states);
    const int64_t wanted = s.batch ? (threads + s.batch - 1) / s.batch : 1;
    const int64_t parts =
        std::max<int64_t>(1, std::min({blocks, wanted, room}));
    const auto options = dy.options();
    Tensor du = at::empty_like(dy), dsteps = at::empty_like(dy), dz;
    if (is_gate(saved[6])) dz = at::empty_like(dy);
    Tensor dA = at::zeros({s.batch, parts, s.states, s.channels}, options);
    Tensor dD = at::zeros({s.batch, parts, s.channels}, options);
    Tensor dbias = at::zeros_like(dD);
    Tensor dB = at::empty(
        {s.batch, parts, s.length, s.groups, s.states}, options);
    Tensor dC = at::empty_like(dB);
    if (parts > 1) {  // not every part has channels of every group
      dB.zero_();
      dC.zero_();
    }
    const Inputs<T> in = inputs<T>(saved, positive);
    with_states(s.states, [&](auto n) {
      at::parallel_for(0, s.batch * parts, 1, [&](int64_t begin,
                                                  int64_t end) {
        Backward<T, n> work(s, in, read<T>(saved[8]), read<T>(dy));
        for (int64_t task = begin; task < end; task++) {
          const int64_t part = task % parts;
          const int64_t states = s.length * s.groups * s.states;
          work.run(task / parts, blocks * part / parts,
                   blocks * (part + 1) / parts,
                   {write<T>(du), write<T>(dsteps),
                    dz.defined() ? write<T>(dz) : nullptr,
                    write<T>(dA) + task * s.states * s.channels,
                    write<T>(dB) + task * states, write<T>(dC) + task * states,
                    write<T>(dD) + task * s.channels,
                    write<T>(dbias) + task * s.channels});
        }
      });
    });
    const std::vector<int64_t> both = {0, 1}, part = {1};
    auto joined = [&](const Tensor& x) {
      return parts > 1 ? x.sum(part) : x.squeeze(1);
    };
    return {du, dsteps, dA.sum(both), joined(dB), joined(dC),
            dD.sum(both), dz, dbias.sum(both)};
  }
};

std::tuple<Tensor, Tensor> selective_scan(
    const Tensor& u, const Tensor& steps, const Tensor& A, const Tensor& B,
    const Tensor& C, const Tensor& D, const MaybeTensor& z,
    const Tensor& bias, bool positive, bool keep) {
  const auto type = u.scalar_type();
  TORCH_CHECK(type == at::kFloat || type == at::kDouble,
              "selective_scan wants float32 or float64");
  const Tensor gate = z ? dsym::regular(*z) : at::empty({0}, u.options());
  for (const Tensor& x : {u, steps, A, B, C, D, bias, gate})
    TORCH_CHECK(x.scalar_type() == type && x.device().is_cpu(),
                "selective_scan wants CPU tensors of one type");
  const Sizes s(u, A, B);
  const int64_t lanes =
      type == at::kFloat ? kLanes<float> : kLanes<double>;
  TORCH_CHECK(steps.sizes() == u.sizes() && B.sizes() == C.sizes() &&
                  B.size(0) == s.batch && B.size(1) == s.length &&
                  B.size(3) == s.states && A.size(1) == s.channels &&
                  D.numel() == s.channels && bias.numel() == s.channels &&
                  (!z || z->sizes() == u.sizes()),
              "selective_scan: shapes do not agree");
  TORCH_CHECK(s.channels % (s.groups * lanes) == 0,
              "selective_scan wants channels in multiples of ", lanes,
              " a group");
  const List out = SelectiveScan::apply(
      dsym::regular(u), dsym::regular(steps), A.contiguous(),
      dsym::regular(B), dsym::regular(C), D.contiguous(), gate,
      bias.contiguous(), positive, keep);
  return {out[0], out[1]};
}

// The sum of 2^x, `times` over: what exponentials alone cost here, the limit
// that tools/benchmark.py holds the scan against.
double sum_exp2(const Tensor& x, int64_t times) {
  constexpr int64_t lanes = kLanes<float>;
  TORCH_CHECK(x.is_contiguous() && x.scalar_type() == at::kFloat &&
                  x.numel() % lanes == 0,
              "sum_exp2 wants whole vectors of float32");
  const float* values = read<float>(x);
  const int64_t count = x.numel();
  return at::parallel_reduce(
      int64_t{0}, times, int64_t{1}, 0.0,
      [&](int64_t begin, int64_t end, double sum) {
        dsym::vf total = {};
        for (int64_t k = begin; k < end; k++)
          for (int64_t i = 0; i < count; i += lanes)
            total += exp2(load(values + i));
        return sum + dsym::sum<float>(total);
      },
      std::plus<double>());
}

TORCH_LIBRARY_FRAGMENT(dsym, m) {
  m.def(
      "selective_scan(Tensor u, Tensor steps, Tensor A, Tensor B, Tensor C, "
      "Tensor D, Tensor? z, Tensor bias, bool positive, bool keep) -> "
      "(Tensor, Tensor)",
      selective_scan);
  m.def("sum_exp2(Tensor x, int times) -> float", sum_exp2);
  // Of a vector, whose channels selective_scan takes together.
  m.def("vector_bytes() -> int", [] { return dsym::kLanes<float> * 4; });
}

}  // namespace
