// The Mamba-1 recurrence and its gradient on a CPU:
//
//   h_t = exp(delta_t A) h_{t-1} + delta_t u_t B_t,    y_t = C_t h_t + D u_t
//
// Vectors run over channels, so that a state never has to be summed across a
// vector, and the N states of a vector of channels stay in registers or in the
// nearest cache. Forward keeps the states before every kChunk-th token;
// backward computes the others again, a chunk at a time: memory grows with
// L D (1 + N / kChunk), not with L D N.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <algorithm>
#include <functional>
#include <tuple>
#include <vector>

#include "vec.h"

namespace {

using at::Tensor;
using dsym::exp2;
using dsym::kLanes;
using dsym::load;
using dsym::read;
using dsym::store;
using dsym::Vec;
using dsym::write;

constexpr int64_t kChunk = 64;

// u, delta, y: (batch, length, channels); A: (states, channels);
// B, C: (batch, length, groups, states). A group's channels are neighbours.
struct Sizes {
  int64_t batch, length, channels, states, groups, chunks;

  Sizes(const Tensor& u, const Tensor& A, const Tensor& B)
      : batch(u.size(0)),
        length(u.size(1)),
        channels(u.size(2)),
        states(A.size(0)),
        groups(B.size(2)),
        chunks((u.size(1) + kChunk - 1) / kChunk) {}
  int64_t channel(int64_t b, int64_t t, int64_t d) const {
    return (b * length + t) * channels + d;
  }
  int64_t state(int64_t b, int64_t t, int64_t g) const {
    return ((b * length + t) * groups + g) * states;
  }
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

template <typename T, int N>
void forward(const Sizes& s, const T* u, const T* delta, const T* A,
             const T* B, const T* C, const T* D, T* y, T* last,
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
        rate[n] = load(A + n * s.channels + d) * T(dsym::kLog2E);
      }
      const V skip = load(D + d);
      for (int64_t t = 0; t < s.length; t++) {
        if (checkpoints && t % kChunk == 0)
          for (int64_t n = 0; n < states; n++)
            store(checkpoints + s.checkpoint(b, t / kChunk, d) +
                      n * s.channels,
                  h[n]);
        const int64_t at = s.channel(b, t, d), row = s.state(b, t, g);
        const V step = load(delta + at), in = load(u + at), x = step * in;
        V out = skip * in;
        for (int64_t n = 0; n < states; n++) {
          h[n] = exp2(step * rate[n]) * h[n] + x * B[row + n];
          out += h[n] * C[row + n];
        }
        store(y + at, out);
      }
      for (int64_t n = 0; n < states; n++)
        store(last + (b * states + n) * s.channels + d, h[n]);
    }
  });
}

template <typename T>
struct Gradients {
  T *u, *delta, *A, *B, *C, *D;
};

// A part's share of one image's gradient: the blocks of channels from first to
// last. A, D get one row, B and C one copy a part; the caller sums them.
template <typename T, int N>
class Backward {
  using V = Vec<T>;
  static constexpr int64_t lanes = kLanes<T>;

 public:
  Backward(const Sizes& s, const T* u, const T* delta, const T* A, const T* B,
           const T* C, const T* D, const T* checkpoints, const T* dy)
      : s(s), u(u), delta(delta), A(A), B(B), C(C), D(D),
        checkpoints(checkpoints), dy(dy), states(N ? N : s.states),
        decay(kChunk * states), h((kChunk + 1) * states),
        dB(kChunk * states), dC(kChunk * states) {}

  // The pointers of out are the part's own.
  void run(int64_t b, int64_t first, int64_t last, const Gradients<T>& out) {
    const int64_t width = s.channels / s.groups / lanes;
    dh.assign((last - first) * states, V{});
    dA.assign((last - first) * states, V{});
    dD.assign(last - first, V{});
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
    }
  }

 private:
  void one_block(int64_t b, int64_t chunk, int64_t count, int64_t g,
                 int64_t d, int64_t i, const Gradients<T>& out) {
    const int64_t begin = chunk * kChunk;
    V rate[N ? N : 1];
    auto rate_of = [&](int64_t n) {
      return N ? rate[n] : load(A + n * s.channels + d);
    };
    if (N)
      for (int64_t n = 0; n < states; n++)
        rate[n] = load(A + n * s.channels + d);
    for (int64_t n = 0; n < states; n++)
      h[n] = load(checkpoints + s.checkpoint(b, chunk, d) + n * s.channels);
    for (int64_t t = 0; t < count; t++) {
      const int64_t at = s.channel(b, begin + t, d);
      const T* Bt = B + s.state(b, begin + t, g);
      const V step = load(delta + at), x = step * load(u + at);
      V* before = &h[t * states];
      V* a = &decay[t * states];
      for (int64_t n = 0; n < states; n++) {
        a[n] = exp2(step * rate_of(n) * T(dsym::kLog2E));
        before[states + n] = a[n] * before[n] + x * Bt[n];
      }
    }
    const V skip = load(D + d);
    V* carry = &dh[i * states];
    V* sum_A = &dA[i * states];
    for (int64_t t = count - 1; t >= 0; t--) {
      const int64_t at = s.channel(b, begin + t, d);
      const T* Bt = B + s.state(b, begin + t, g);
      const T* Ct = C + s.state(b, begin + t, g);
      const V grad = load(dy + at), in = load(u + at), step = load(delta + at);
      const V x = step * in;
      const V* before = &h[t * states];
      V dx = {}, dstep = {};
      for (int64_t n = 0; n < states; n++) {
        const V gh = carry[n] + grad * Ct[n];
        dC[t * states + n] += grad * before[states + n];
        dB[t * states + n] += gh * x;
        dx += gh * Bt[n];
        carry[n] = gh * decay[t * states + n];
        const V rate_grad = carry[n] * before[n];  // of delta_t A
        dstep += rate_grad * rate_of(n);
        sum_A[n] += rate_grad * step;
      }
      dD[i] += grad * in;
      store(out.u + at, skip * grad + dx * step);
      store(out.delta + at, dstep + dx * in);
    }
  }

  const Sizes& s;
  const T *u, *delta, *A, *B, *C, *D, *checkpoints, *dy;
  const int64_t states;
  std::vector<V> decay, h, dB, dC, dh, dA, dD;
};

using Context = torch::autograd::AutogradContext;
using List = torch::autograd::variable_list;

template <typename F>
void with_type(const Tensor& x, const F& f) {
  if (x.scalar_type() == at::kDouble)
    f(double{});
  else
    f(float{});
}

struct SelectiveScan : torch::autograd::Function<SelectiveScan> {
  static List forward(Context* ctx, const Tensor& u, const Tensor& delta,
                      const Tensor& A, const Tensor& B, const Tensor& C,
                      const Tensor& D, bool keep) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const Sizes s(u, A, B);
    Tensor y = at::empty_like(u);
    Tensor last = at::empty({s.batch, s.states, s.channels}, u.options());
    Tensor checkpoints;
    if (keep)
      checkpoints =
          at::empty({s.batch, s.chunks, s.states, s.channels}, u.options());
    with_type(u, [&](auto zero) {
      using T = decltype(zero);
      with_states(s.states, [&](auto n) {
        ::forward<T, n>(s, read<T>(u), read<T>(delta), read<T>(A), read<T>(B),
                        read<T>(C), read<T>(D), write<T>(y), write<T>(last),
                        keep ? write<T>(checkpoints) : nullptr);
      });
    });
    if (keep) ctx->save_for_backward({u, delta, A, B, C, D, checkpoints});
    ctx->mark_non_differentiable({last});
    return {y, last};
  }

  static List backward(Context* ctx, List gradients) {
    TORCH_CHECK(!at::GradMode::is_enabled(),
                "selective_scan has no second derivative");
    const List saved = ctx->get_saved_variables();
    TORCH_CHECK(saved.size() == 7, "selective_scan kept nothing to go back");
    const Tensor &u = saved[0], &delta = saved[1], &A = saved[2];
    const Tensor &B = saved[3], &C = saved[4], &D = saved[5];
    const Sizes s(u, A, B);
    const Tensor dy = gradients[0].contiguous();
    Tensor du = at::empty_like(u), ddelta = at::empty_like(u);
    with_type(u, [&](auto zero) {
      using T = decltype(zero);
      run<T>(s, saved, dy, du, ddelta, gradients);
    });
    return {du, ddelta, gradients[0], gradients[1],
            gradients[2], gradients[3], Tensor()};
  }

  // Leaves the gradients of A, B, C, D in `out`.
  template <typename T>
  static void run(const Sizes& s, const List& saved, const Tensor& dy,
                  Tensor& du, Tensor& ddelta, List& out) {
    const int64_t blocks = s.channels / kLanes<T>;
    const int64_t threads = at::get_num_threads();
    // Each part has gradients of B and C of its own, no larger than that of u.
    const int64_t room = s.channels / (s.groups * s.states);
    const int64_t wanted = s.batch ? (threads + s.batch - 1) / s.batch : 1;
    const int64_t parts =
        std::max<int64_t>(1, std::min({blocks, wanted, room}));
    const auto options = du.options();
    Tensor dA = at::zeros({s.batch, parts, s.states, s.channels}, options);
    Tensor dD = at::zeros({s.batch, parts, s.channels}, options);
    Tensor dB = at::zeros(
        {s.batch, parts, s.length, s.groups, s.states}, options);
    Tensor dC = at::zeros_like(dB);
    with_states(s.states, [&](auto n) {
      at::parallel_for(0, s.batch * parts, 1, [&](int64_t begin,
                                                  int64_t end) {
        Backward<T, n> work(s, read<T>(saved[0]), read<T>(saved[1]),
                            read<T>(saved[2]), read<T>(saved[3]),
                            read<T>(saved[4]), read<T>(saved[5]),
                            read<T>(saved[6]), read<T>(dy));
        for (int64_t task = begin; task < end; task++) {
          const int64_t part = task % parts;
          const int64_t states = s.length * s.groups * s.states;
          work.run(task / parts, blocks * part / parts,
                   blocks * (part + 1) / parts,
                   {write<T>(du), write<T>(ddelta),
                    write<T>(dA) + task * s.states * s.channels,
                    write<T>(dB) + task * states, write<T>(dC) + task * states,
                    write<T>(dD) + task * s.channels});
        }
      });
    });
    const std::vector<int64_t> both = {0, 1}, part = {1};
    out = {dA.sum(both), dB.sum(part), dC.sum(part), dD.sum(both)};
  }
};

std::tuple<Tensor, Tensor> selective_scan(const Tensor& u, const Tensor& delta,
                                          const Tensor& A, const Tensor& B,
                                          const Tensor& C, const Tensor& D,
                                          bool keep) {
  const auto type = u.scalar_type();
  TORCH_CHECK(type == at::kFloat || type == at::kDouble,
              "selective_scan wants float32 or float64");
  for (const Tensor& x : {u, delta, A, B, C, D})
    TORCH_CHECK(x.is_contiguous() && x.scalar_type() == type &&
                    x.device().is_cpu(),
                "selective_scan wants contiguous CPU tensors of one type");
  const Sizes s(u, A, B);
  const int64_t lanes =
      type == at::kFloat ? kLanes<float> : kLanes<double>;
  TORCH_CHECK(delta.sizes() == u.sizes() && B.sizes() == C.sizes() &&
                  B.size(0) == s.batch && B.size(1) == s.length &&
                  B.size(3) == s.states && A.size(1) == s.channels &&
                  D.numel() == s.channels,
              "selective_scan: shapes do not agree");
  TORCH_CHECK(s.channels % (s.groups * lanes) == 0,
              "selective_scan wants channels in multiples of ", lanes,
              " a group");
  const List out = SelectiveScan::apply(u, delta, A, B, C, D, keep);
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
      "selective_scan(Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, "
      "Tensor D, bool keep) -> (Tensor, Tensor)",
      selective_scan);
  m.def("sum_exp2(Tensor x, int times) -> float", sum_exp2);
  // Of a vector, whose channels selective_scan takes together.
  m.def("vector_bytes() -> int", [] { return dsym::kLanes<float> * 4; });
}

}  // namespace
