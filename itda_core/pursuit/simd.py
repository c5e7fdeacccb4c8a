"""Vector instructions for the inner loops of pursuit, written out because the compiler does not find them by itself.

Each is a numba intrinsic over rows of two-dimensional C-ordered arrays: the loops of `kernels.py` call them by row
number, so that no view of a row is made. Their order of operations is fixed, so equal inputs give equal bits wherever
they are called from. Widths are those that `kernels.py` pads to; nothing is checked here.
"""

from typing import Any

import numba.extending
from llvmlite import binding, ir
from numba import config, types
from numba.core import cgutils

intrinsic: Any = numba.extending.intrinsic  # who calls one leaves out its first parameter

LANES = 8
"""32-bit values worked on together, or twice as many of 16 bits; other registers than AVX2's split or join them."""
DEPTH = 4 * LANES
"""Widths of activations are padded to a multiple of this."""
PANEL = 2 * LANES
"""Atoms that stand together in a panel [d / 2, PANEL, 2] of 16-bit values."""
CHUNK = 16 * LANES
"""Numbers of atoms are padded to a multiple of this."""
PEAKS = 2 * LANES
"""Peaks that are kept of a chunk."""
TILE = 6
"""Rows that go over a panel together."""
WORD = 64
"""Values that a word has a bit for."""

_LINE = 32  # 16-bit values in a line of the cache
_I16, _I32, _I64, _F32 = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
_FLOATS, _INTS = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)
_SHORTS = ir.VectorType(_I16, 2 * LANES)
_MASK = ir.IntType(2 * LANES)


def _has_avx2() -> bool:
    name, features = (getattr(config, option, None) for option in ("CPU_NAME", "CPU_FEATURES"))
    if name not in (None, "host") or features is not None:
        return "+avx2" in (features or "").split(",")
    return bool(binding.get_host_cpu_features().get("avx2"))


class _Rows:
    """Addresses in a two-dimensional array of numba."""

    def __init__(self, context, builder, kind, value) -> None:
        array = context.make_array(kind)(context, builder, value)
        self._builder = builder
        self._data = array.data
        self._width = cgutils.unpack_tuple(builder, array.shape)[-1]

    @property
    def width(self):
        return self._width

    def at(self, row, column, kind):
        """Pointer of `kind` to an element."""
        offset = self._builder.add(self._builder.mul(row, self._width), column)
        return self._builder.bitcast(self._builder.gep(self._data, [offset]), kind.as_pointer())


def _splat(builder, value, lanes=LANES):
    kind = ir.VectorType(value.type, lanes)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_I32, 0))
    where = ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), where)


def _function(builder, name, result, *arguments):
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


def _constant(n):
    return ir.Constant(_I64, n)


def _blocks(builder, width, size):
    return cgutils.for_range(builder, builder.udiv(width, _constant(size)))


def _halves(builder, vector, first, step):
    """[LANES] 32-bit values out of [2 · LANES] 16-bit ones, from `first` on."""
    where = ir.Constant(_INTS, [first + step * lane for lane in range(LANES)])
    return builder.sext(builder.shuffle_vector(vector, ir.Constant(_SHORTS, ir.Undefined), where), _INTS)


def _joined(builder, low, high):
    """[2 · LANES] values out of two vectors of [LANES]."""
    return builder.shuffle_vector(low, high, ir.Constant(ir.VectorType(_I32, 2 * LANES), list(range(2 * LANES))))


def _pair_sums(builder, a, b):
    """[LANES] 32-bit a₀b₀ + a₁b₁ of neighbouring 16-bit values: one instruction where there is AVX2."""
    if _has_avx2():
        return builder.call(_function(builder, "llvm.x86.avx2.pmadd.wd", _INTS, _SHORTS, _SHORTS), [a, b])
    products = [builder.mul(_halves(builder, a, i, 2), _halves(builder, b, i, 2)) for i in range(2)]
    return builder.add(*products)


def _scaled(builder, a, b):
    """[2 · LANES] a · b / 2¹⁵ of 16-bit values, rounded: one instruction where there is AVX2."""
    if _has_avx2():
        return builder.call(_function(builder, "llvm.x86.avx2.pmul.hr.sw", _SHORTS, _SHORTS, _SHORTS), [a, b])
    halves = [builder.mul(_halves(builder, a, i, 1), _halves(builder, b, i, 1)) for i in (0, LANES)]
    return _to_shorts(builder, *halves)


def _to_shorts(builder, low, high):
    """[2 · LANES] 32-bit values / 2¹⁵, rounded, in 16 bits; what does not fit becomes the nearest that does."""
    rounded = []
    for half in (low, high):
        half = builder.add(half, _all(_INTS, 1 << 14))
        half = builder.ashr(half, _all(_INTS, 15))
        for bound, value in (("smin", 32767), ("smax", -32768)):
            function = _function(builder, f"llvm.{bound}.v{LANES}i32", _INTS, _INTS, _INTS)
            half = builder.call(function, [half, _all(_INTS, value)])
        rounded.append(half)
    return builder.trunc(_joined(builder, *rounded), _SHORTS)


def _all(kind, value):
    return ir.Constant(kind, [value] * kind.count)


def _greater(builder, a, b):
    return builder.call(_function(builder, f"llvm.smax.v{2 * LANES}i16", _SHORTS, _SHORTS, _SHORTS), [a, b])


def _size(builder, values, signed):
    """Return absolute correlations, or those above 0 if coefficients may not be negative."""
    if signed:
        absolute = _function(builder, f"llvm.abs.v{2 * LANES}i16", _SHORTS, _SHORTS, ir.IntType(1))
        return builder.call(absolute, [values, ir.Constant(ir.IntType(1), 0)])
    return _greater(builder, values, _all(_SHORTS, 0))


def _products(tile):
    @intrinsic
    def products(typing, pairs, at_tile, panels, panel, out, to):
        """out[to + i, panel · PANEL + j] = Σ row i · atom j of the panel / 2¹⁵, rounded.

        pairs[at_tile] [d / 2 · tile] int32 are the rows, two neighbouring 16-bit values in each, those of all rows
        together; panels [n / PANEL, d · PANEL] int16, out [any, n] int16.
        """

        def generate(context, builder, signature, arguments):
            kinds = signature.args
            pairs, at_tile, panels, panel, out, to = arguments
            pairs, panels = _Rows(context, builder, kinds[0], pairs), _Rows(context, builder, kinds[2], panels)
            out = _Rows(context, builder, kinds[4], out)
            zero = ir.Constant(_INTS, [0] * LANES)
            sums = [[cgutils.alloca_once_value(builder, zero) for _ in range(2)] for _ in range(tile)]
            with _blocks(builder, panels.width, 2 * PANEL) as loop:
                at = builder.mul(loop.index, _constant(2 * PANEL))
                atoms = [
                    builder.load(panels.at(panel, builder.add(at, _constant(2 * LANES * half)), _SHORTS), align=2)
                    for half in range(2)
                ]
                for i in range(tile):
                    at = builder.add(builder.mul(loop.index, _constant(tile)), _constant(i))
                    pair = builder.bitcast(_splat(builder, builder.load(pairs.at(at_tile, at, _I32))), _SHORTS)
                    for half in range(2):
                        total = builder.load(sums[i][half])
                        builder.store(builder.add(total, _pair_sums(builder, pair, atoms[half])), sums[i][half])
            column = builder.mul(panel, _constant(PANEL))
            for i in range(tile):
                values = _to_shorts(builder, *(builder.load(half) for half in sums[i]))
                builder.store(values, out.at(builder.add(to, _constant(i)), column, _SHORTS), align=2)
            return context.get_dummy_value()

        whole = types.int64
        return types.void(pairs, whole, panels, whole, out, whole), generate

    return products


products, products_of_one = _products(TILE), _products(1)
"""Products of a panel with TILE rows, and with one."""


@intrinsic
def subtract_and_peak(typing, a, row, up, gram, other, ahead, c, signed, peaks):
    """a[row] = up · a[row] − c · gram[other] / 2¹⁵, rounded; returns the greatest size of a[row].

    a [rows, n], gram [any, n], up and c are 16-bit; sizes are absolute values if `signed`, else what is above 0.
    gram[ahead] is brought nearer meanwhile. The greatest sizes of all lanes of all chunks go to peaks
    [rows, n / CHUNK · PEAKS]: lane l of chunk b covers the values b · CHUNK + l, + PEAKS, ….
    """

    def generate(context, builder, signature, arguments):
        kinds = signature.args
        a, row, up, gram, other, ahead, c, signed, peaks = arguments
        a, gram = _Rows(context, builder, kinds[0], a), _Rows(context, builder, kinds[3], gram)
        peaks = _Rows(context, builder, kinds[8], peaks)
        byte = ir.IntType(8).as_pointer()
        prefetch = _function(builder, "llvm.prefetch.p0", ir.VoidType(), byte, _I32, _I32, _I32)
        less = _function(builder, f"llvm.ssub.sat.v{2 * LANES}i16", _SHORTS, _SHORTS, _SHORTS)
        up, c = _splat(builder, up, 2 * LANES), _splat(builder, c, 2 * LANES)
        greatest = cgutils.alloca_once_value(builder, _all(_SHORTS, 0))

        def loops(signed):
            with _blocks(builder, a.width, CHUNK) as loop:
                start = builder.mul(loop.index, _constant(CHUNK))
                for line in range(0, CHUNK, _LINE):
                    address = gram.at(ahead, builder.add(start, _constant(line)), ir.IntType(8))
                    read_near_data = (ir.Constant(_I32, way) for way in (0, 2, 1))
                    builder.call(prefetch, [address, *read_near_data])
                best = [None, None]
                for v in range(CHUNK // PEAKS):
                    at = builder.add(start, _constant(v * PEAKS))
                    step = _scaled(builder, builder.load(gram.at(other, at, _SHORTS), align=2), c)
                    place = a.at(row, at, _SHORTS)
                    value = builder.call(less, [builder.mul(builder.load(place, align=2), up), step])
                    builder.store(value, place, align=2)
                    size = _size(builder, value, signed)
                    best[v % 2] = size if best[v % 2] is None else _greater(builder, size, best[v % 2])
                peak = _greater(builder, *best)
                builder.store(peak, peaks.at(row, builder.mul(loop.index, _constant(PEAKS)), _SHORTS), align=2)
                builder.store(_greater(builder, peak, builder.load(greatest)), greatest)

        with builder.if_else(signed) as (any_sign, above_zero):
            with any_sign:
                loops(True)
            with above_zero:
                loops(False)
        return _across(builder, builder.load(greatest), lambda a, b: _greater(builder, a, b))

    whole, short = types.int64, types.int16
    return short(a, whole, short, gram, whole, whole, short, types.boolean, peaks), generate


@intrinsic
def next_chunk(typing, peaks, row, start, low):
    """Return the first chunk from `start` on with a peak of at least `low`, or their number."""

    def generate(context, builder, signature, arguments):
        peaks, row, start, low = arguments
        peaks = _Rows(context, builder, signature.args[0], peaks)
        low = _splat(builder, low, PEAKS)
        n_chunks = builder.udiv(peaks.width, _constant(PEAKS))
        found = cgutils.alloca_once_value(builder, n_chunks)
        with cgutils.for_range(builder, n_chunks, start=start) as loop:
            values = builder.load(peaks.at(row, builder.mul(loop.index, _constant(PEAKS)), _SHORTS), align=2)
            high = builder.bitcast(builder.icmp_signed(">=", values, low), _MASK)
            with builder.if_then(builder.icmp_unsigned("!=", high, ir.Constant(_MASK, 0))):
                builder.store(loop.index, found)
                loop.do_break()
        return builder.load(found)

    return types.int64(peaks, types.int64, types.int64, types.int16), generate


@intrinsic
def at_least(typing, values, row, start, low, signed):
    """Return a bit for each of values[row, start : start + WORD]: if it is at least `low`.

    Absolute values are compared if `signed`."""

    def generate(context, builder, signature, arguments):
        values, row, start, low, signed = arguments
        values = _Rows(context, builder, signature.args[0], values)
        low = _splat(builder, low, 2 * LANES)
        word = _constant(0)
        for v in range(WORD // (2 * LANES)):
            at = builder.add(start, _constant(v * 2 * LANES))
            value = builder.load(values.at(row, at, _SHORTS), align=2)
            value = builder.select(signed, _size(builder, value, True), value)
            high = builder.zext(builder.bitcast(builder.icmp_signed(">=", value, low), _MASK), _I64)
            word = builder.or_(word, builder.shl(high, _constant(v * 2 * LANES)))
        return word

    return types.uint64(values, types.int64, types.int64, types.int16, types.boolean), generate


@intrinsic
def first_bit(typing, word):
    """Return the index of the lowest set bit of a word that is not 0."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


def _across(builder, vector, join):
    """All lanes joined to one value; halves are joined to each other, always in the same order."""
    lanes = width = vector.type.count
    while width > 1:
        width //= 2
        where = ir.Constant(ir.VectorType(_I32, lanes), [(lane + width) % lanes for lane in range(lanes)])
        vector = join(vector, builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), where))
    return builder.extract_element(vector, ir.Constant(_I32, 0))


@intrinsic
def dot(typing, a, row, b, other):
    """Float32 inner product of a[row] and b[other], both [any, d]."""

    def generate(context, builder, signature, arguments):
        return _dots(context, builder, signature.args, arguments, 1, DEPTH // LANES)[0]

    return types.float32(a, types.int64, b, types.int64), generate


@intrinsic
def four_dots(typing, a, row, b, first):
    """Float32 inner products of a[row] and b[first], …, b[first + 3], both [any, d]; not the same bits as `dot`."""

    def generate(context, builder, signature, arguments):
        found = _dots(context, builder, signature.args, arguments, 4, 2)
        return context.make_tuple(builder, signature.return_type, found)

    return types.UniTuple(types.float32, 4)(a, types.int64, b, types.int64), generate


def _dots(context, builder, kinds, arguments, count, sums):
    """Inner products with `count` rows from one on, each by so many partial sums, 2 or 4, that are joined in pairs."""
    a, row, b, first = arguments
    a, b = _Rows(context, builder, kinds[0], a), _Rows(context, builder, kinds[2], b)
    others = [builder.add(first, _constant(i)) for i in range(count)]
    zero = ir.Constant(_FLOATS, [0.0] * LANES)
    totals = [[cgutils.alloca_once_value(builder, zero) for _ in range(sums)] for _ in others]
    with _blocks(builder, a.width, sums * LANES) as loop:
        for v in range(sums):
            at = builder.add(builder.mul(loop.index, _constant(sums * LANES)), _constant(v * LANES))
            left = builder.load(a.at(row, at, _FLOATS), align=4)
            for other, total in zip(others, totals, strict=True):
                product = builder.fmul(left, builder.load(b.at(other, at, _FLOATS), align=4), flags=("contract",))
                builder.store(builder.fadd(builder.load(total[v]), product, flags=("contract",)), total[v])
    found = []
    for total in totals:
        parts = [builder.load(part) for part in total]
        while len(parts) > 1:
            parts = [builder.fadd(*parts[at : at + 2]) for at in range(0, len(parts), 2)]
        found.append(_across(builder, parts[0], builder.fadd))
    return found


@intrinsic
def subtract(typing, a, row, c, b, other):
    """a[row] −= c · b[other], both float32 [any, d]."""

    def generate(context, builder, signature, arguments):
        a, row, c, b, other = arguments
        a = _Rows(context, builder, signature.args[0], a)
        b = _Rows(context, builder, signature.args[3], b)
        c = _splat(builder, c)
        with _blocks(builder, a.width, LANES) as loop:
            at = builder.mul(loop.index, _constant(LANES))
            place = a.at(row, at, _FLOATS)
            product = builder.fmul(c, builder.load(b.at(other, at, _FLOATS), align=4), flags=("contract",))
            builder.store(builder.fsub(builder.load(place, align=4), product, flags=("contract",)), place, align=4)
        return context.get_dummy_value()

    return types.void(a, types.int64, types.float32, b, types.int64), generate
