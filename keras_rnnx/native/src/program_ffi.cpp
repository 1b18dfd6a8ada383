// The calls from XLA of programs. `code` is what keras_rnnx/native/walk.py writes, read here in the same order.
#include "around.h"

namespace {

constexpr int64_t OPERATIONS = 23, FIELDS = 5;

// Numbers one after the other; the first that is not as expected becomes the error.
class Reader {
 public:
  Reader(ffi::Span<const int64_t> code, std::string* error) : code_(code), error_(error) {}

  int64_t number(int64_t least, int64_t most) {
    const int64_t* one = list(1, least, most);
    return one ? *one : least;
  }

  const int64_t* list(int64_t count, int64_t least, int64_t most) {
    const int64_t* first = code_.begin() + at_;
    if (!error_->empty()) return nullptr;
    if (count < 0 || at_ + static_cast<size_t>(count) > code_.size()) {
      *error_ = "Expected a whole program. Received: one that ends early";
      return nullptr;
    }
    at_ += count;
    for (int64_t i = 0; i < count; i++)
      if (first[i] < least || first[i] > most) {
        *error_ = "Expected a number from " + std::to_string(least) + " to " + std::to_string(most) +
                  " in a program. Received: " + std::to_string(first[i]);
        return nullptr;
      }
    return first;
  }

 private:
  ffi::Span<const int64_t> code_;
  std::string* error_;
  size_t at_ = 0;
};

// A program one way, and which arrays are stored between the ways.
struct Parsed : Code, Counts {
  const int64_t *before = nullptr, *left = nullptr;  // for each state and each product: whether it is stored
  int64_t units = 0;
  bool same = false;                                 // whether the only product's cotangent is that of the inputs

  Parsed(ffi::Span<const int64_t> numbers, ffi::Span<const float> given, bool back, std::string* error) : Code{} {
    Reader read(numbers, error);
    constant = given.begin(), constants = static_cast<int64_t>(given.size());
    units = read.number(1, int64_t{1} << 31);
    Code::inputs = Counts::inputs = read.number(0, 1 << 10);
    Code::states = Counts::states = read.number(1, MOST);
    Code::vectors = Counts::vectors = read.number(0, MOST);
    Code::products = Counts::products = read.number(0, MOST);
    kept = read.number(0, 1 << 10);
    temporaries = read.number(0, 1 << 16);
    crossing = read.number(0, 1 << 16);
    same = read.number(0, 1);
    Code::parts = 0;
    for (int64_t j = 0; j < Code::products; j++) {
      Code::Product& made = product[j];
      made.parts = Counts::parts[j] = read.number(1, 1 << 10);
      made.state = read.number(-1, Code::states - 1), made.left = read.number(-1, 1 << 20);
      bias[j] = read.number(0, 1);
      Code::parts += made.parts;
    }
    before = read.list(Code::states, 0, 1), left = read.list(Code::products, 0, 1);
    cross = read.list(temporaries, -1, crossing - 1);
    const int64_t leaves = constants + Code::vectors + Code::states;
    const int64_t own = back ? kept + Code::states + Code::products : Code::inputs + Code::parts;
    const int64_t slots = leaves + own + temporaries;
    if (back) {
      dinput = read.list(Code::inputs, -1, slots - 1), dpart = read.list(Code::parts, -1, slots - 1);
      dstate = read.list(Code::states, -1, slots - 1), dvector = read.list(Code::vectors, -1, slots - 1);
    } else {
      new_state = read.list(Code::states, 0, slots - 1), keep = read.list(kept, 0, slots - 1);
    }
    // What is loaded: forwards the inputs; back the old states and what was kept.
    const int64_t loaded = constants + Code::vectors, end = loaded + (back ? Code::states + kept : Code::inputs);
    for (int64_t i = 0; i <= Code::products; i++) {
      Code::Stage& made = stage[i];
      made.loads = read.number(0, slots), made.instructions = read.number(0, 1 << 20);
      made.load = read.list(made.loads, loaded, end - 1);
      made.code = read.list(made.instructions * FIELDS, -1, slots > OPERATIONS ? slots - 1 : OPERATIONS - 1);
      for (int64_t k = 0; error->empty() && k < made.instructions; k++) {
        const int64_t* one = made.code + k * FIELDS;
        bool fits = one[0] >= 0 && one[0] < OPERATIONS && one[1] >= 0 && one[2] >= 0;
        for (int64_t f = 1; f < FIELDS; f++) fits = fits && one[f] < slots;
        if (!fits) *error = "Expected an operation on slots of the program. Received: another";
      }
      if (!back && i < Code::products && product[i].state < 0 && (product[i].left < 0 || product[i].left >= slots))
        *error = "Expected the slot of a left operand. Received: another";
    }
  }
};

ffi::Error forward(ffi::ThreadPool threads, ffi::RemainingArgs given, ffi::RemainingRets made, ffi::Span<const int64_t> code,
                   ffi::Span<const float> constants, int64_t flags, int64_t emit, ffi::Span<const float> rates) {
  std::string error;
  const Parsed program(code, constants, false, &error);
  const Counts& count = program;
  ProgramForward a{};
  if (error.empty() && !sizes_of(given, 1, flags, &a)) error = "Expected inputs (T, B, n). Received: others";
  if (!error.empty()) return finished(error);
  a.H = program.units;
  Args args(given, &error);
  Rets rets(made, &error);
  take_inputs(count.inputs, flags, args, &a);
  for (int64_t i = 0; i < count.states; i++) a.state[i] = args.numbers("state", {a.B, a.H});
  take_around(count, flags, rates, args, &a);
  for (int64_t i = 0; i < count.states && flags & RESET; i++) a.reset_state[i] = args.numbers("reset_state", {a.B, a.H});
  for (int64_t i = 0; i < count.states; i++)
    if (emit >> i & 1) a.emit[i] = rets.numbers("emit", of_steps(a, a.H));
  for (int64_t i = 0; i < count.states; i++) a.final[i] = rets.numbers("final", {a.B, a.H});
  if (flags & SAVE) {
    for (int64_t i = 0; i < count.states; i++)
      if (program.before[i]) a.before[i] = rets.numbers("before", of_steps(a, a.H));
    for (int64_t j = 0; j < count.products; j++)
      if (program.left[j]) a.left[j] = rets.numbers("left", of_steps(a, a.H));
    a.kept = rets.numbers("kept", of_steps(a, program.kept * a.H));
  }
  args.finish();
  rets.finish();
  if (error.empty()) chosen().program_forward(a, program, Pool{{threads.num_threads(), run}, &threads});
  return finished(error);
}

ffi::Error backward(ffi::ThreadPool threads, ffi::RemainingArgs given, ffi::RemainingRets made, ffi::Span<const int64_t> code,
                    ffi::Span<const float> constants, int64_t flags, int64_t emit, ffi::Span<const float> rates) {
  std::string error;
  const Parsed program(code, constants, true, &error);
  const Counts& count = program;
  ProgramBackward a{};
  if (error.empty() && !sizes_of(given, 1, flags, &a)) error = "Expected kept values (T, B, n H). Received: others";
  if (!error.empty()) return finished(error);
  a.H = program.units;
  Args args(given, &error);
  Rets rets(made, &error);
  a.kept = args.numbers("kept", of_steps(a, program.kept * a.H));
  take_around(count, flags, rates, args, &a);
  for (int64_t i = 0; i < count.states; i++)
    if (program.before[i]) a.before[i] = args.numbers("before", of_steps(a, a.H));
  for (int64_t i = 0; i < count.states; i++)
    if (emit >> i & 1) a.demit[i] = args.numbers("demit", of_steps(a, a.H));
  for (int64_t i = 0; i < count.states; i++) a.dfinal[i] = args.numbers("dfinal", {a.B, a.H});
  a.dx = rets.numbers("dx", of_steps(a, count.inputs * a.H));
  for (int64_t j = 0; j < count.products && !program.same; j++)
    a.du[j] = rets.numbers("du", of_steps(a, count.parts[j] * a.H));
  for (int64_t i = 0; i < count.states; i++) a.dstate[i] = rets.numbers("dstate", {a.B, a.H});
  for (int64_t i = 0; i < count.vectors; i++) a.dvectors[i] = rets.numbers("dvector", {a.H});
  if (flags & INPUT_BIAS) a.dinput_bias = rets.numbers("dinput_bias", {count.inputs * a.H});
  for (int64_t i = 0; i < count.states && flags & RESET; i++) a.dreset_state[i] = rets.numbers("dreset_state", {a.B, a.H});
  args.finish();
  rets.finish();
  if (error.empty()) chosen().program_backward(a, program, Pool{{threads.num_threads(), run}, &threads});
  return finished(error);
}

auto binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .RemainingArgs()
      .RemainingRets()
      .Attr<ffi::Span<const int64_t>>("code")
      .Attr<ffi::Span<const float>>("constants")
      .Attr<int64_t>("flags")
      .Attr<int64_t>("emit")
      .Attr<ffi::Span<const float>>("rates");
}

}  // namespace

#pragma GCC visibility push(default)

XLA_FFI_DEFINE_HANDLER_SYMBOL(rnnx_program_forward, forward, binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(rnnx_program_backward, backward, binding());

#pragma GCC visibility pop
