"""Vector instructions for the inner loops of pursuit, written out because the compiler does not find them by itself.

Each is a numba intrinsic over rows of two-dimensional C-ordered arrays: the loops of `kernels.py` call them by row
number, so that no view of a row is made. Their order of operations is fixed, so equal inputs give equal bits wherever
they are called from. Widths are those that `kernels.py` pads to; nothing is checked here.
"""

from llvmlite import binding, ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8
"""Values worked on together; a machine with other registers splits or joins them."""
DEPTH = 4 * LANES
"""Widths of activations are padded to a multiple of this."""
PANEL = 2 * LANES
"""Atoms that stand together in a panel [d / 2, PANEL, 2] of 16-bit values."""
CHUNK = 16 * LANES
"""Numbers of atoms are padded to a multiple of this."""
TILE = 6
"""Rows that go over a panel together."""
WORD = 64
"""Values that a word has a bit for."""

_LINE = 32  # 16-bit values in a line of the cache
_I16, _I32, _I64, _F32 = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
_FLOATS, _INTS = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)
_SHORTS, _PAIRS = ir.VectorType(_I16, LANES), ir.VectorType(_I16, 2 * LANES)
_MASK = ir.IntType(LANES)


def _has_avx2() -> bool:
    return config.CPU_NAME in (None, "host") and bool(binding.get_host_cpu_features().get("avx2"))


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


def _splat(builder, value):
    kind = ir.VectorType(value.type, LANES)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), ir.Constant(_INTS, [0] * LANES))


def _function(builder, name, result, *arguments):
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


def _constant(n):
    return ir.Constant(_I64, n)


def _blocks(builder, width, size):
    return cgutils.for_range(builder, builder.udiv(width, _constant(size)))


def _pair_sums(builder, a, b):
    """[LANES] 32-bit a₀b₀ + a₁b₁ of neighbouring 16-bit values: one instruction where there is AVX2."""
    if _has_avx2():
        return builder.call(_function(builder, "llvm.x86.avx2.pmadd.wd", _INTS, _PAIRS, _PAIRS), [a, b])

    def half(vector, first):
        mask = ir.Constant(_INTS, list(range(first, 2 * LANES, 2)))
        return builder.sext(builder.shuffle_vector(vector, ir.Constant(_PAIRS, ir.Undefined), mask), _INTS)

    return builder.add(builder.mul(half(a, 0), half(b, 0)), builder.mul(half(a, 1), half(b, 1)))


def _products(tile):
    @intrinsic
    def products(typing, pairs, at_tile, panels, panel, scales, first, out, to):
        """out[to + i, panel · PANEL + j] = scales[0, first + i] · Σ row i · atom j of the panel.

        pairs[at_tile] [d / 2 · tile] int32 are the rows, two neighbouring 16-bit values in each, those of all rows
        together; panels [n / PANEL, d · PANEL] int16, scales [1, any] float32, out [any, n] float32.
        """

        def generate(context, builder, signature, arguments):
            kinds = signature.args
            pairs, at_tile, panels, panel, scales, first, out, to = arguments
            pairs, panels = _Rows(context, builder, kinds[0], pairs), _Rows(context, builder, kinds[2], panels)
            scales, out = _Rows(context, builder, kinds[4], scales), _Rows(context, builder, kinds[6], out)
            zero = ir.Constant(_INTS, [0] * LANES)
            sums = [[cgutils.alloca_once_value(builder, zero) for _ in range(2)] for _ in range(tile)]
            with _blocks(builder, panels.width, 2 * PANEL) as loop:
                at = builder.mul(loop.index, _constant(2 * PANEL))
                atoms = [
                    builder.load(panels.at(panel, builder.add(at, _constant(2 * LANES * half)), _PAIRS), align=2)
                    for half in range(2)
                ]
                for i in range(tile):
                    at = builder.add(builder.mul(loop.index, _constant(tile)), _constant(i))
                    pair = builder.bitcast(_splat(builder, builder.load(pairs.at(at_tile, at, _I32))), _PAIRS)
                    for half in range(2):
                        total = builder.load(sums[i][half])
                        builder.store(builder.add(total, _pair_sums(builder, pair, atoms[half])), sums[i][half])
            column = builder.mul(panel, _constant(PANEL))
            for i in range(tile):
                scale = _splat(builder, builder.load(scales.at(_constant(0), builder.add(first, _constant(i)), _F32)))
                for half in range(2):
                    value = builder.fmul(builder.sitofp(builder.load(sums[i][half]), _FLOATS), scale)
                    at = builder.add(column, _constant(LANES * half))
                    builder.store(value, out.at(builder.add(to, _constant(i)), at, _FLOATS), align=4)
            return context.get_dummy_value()

        whole = types.int64
        return types.void(pairs, whole, panels, whole, scales, whole, out, whole), generate

    return products


products, products_of_one = _products(TILE), _products(1)
"""Products of a panel with TILE rows, and with one."""


@intrinsic
def subtract_and_peak(typing, a, row, gram, other, ahead, c, signed, peaks):
    """a[row] −= c · gram[other]; returns the greatest value of a[row], the absolute ones if `signed`, and at least 0.

    a [rows, n] float32, gram [any, n] int16, of which gram[ahead] is brought nearer meanwhile. The greatest values of
    all lanes of all chunks go to peaks [rows, n / CHUNK · LANES] float32: lane l of chunk b covers the values
    b · CHUNK + l, + LANES, ….
    """

    def generate(context, builder, signature, arguments):
        kinds = signature.args
        a, row, gram, other, ahead, c, signed, peaks = arguments
        a, gram = _Rows(context, builder, kinds[0], a), _Rows(context, builder, kinds[2], gram)
        peaks = _Rows(context, builder, kinds[7], peaks)
        byte = ir.IntType(8).as_pointer()
        prefetch = _function(builder, "llvm.prefetch.p0", ir.VoidType(), byte, _I32, _I32, _I32)
        c = _splat(builder, c)
        mask = _size_mask(builder, signed)
        greatest = cgutils.alloca_once_value(builder, ir.Constant(_INTS, [0] * LANES))
        with _blocks(builder, a.width, CHUNK) as loop:
            start = builder.mul(loop.index, _constant(CHUNK))
            for line in range(0, CHUNK, _LINE):
                address = gram.at(ahead, builder.add(start, _constant(line)), ir.IntType(8))
                builder.call(prefetch, [address, *(ir.Constant(_I32, way) for way in (0, 2, 1))])  # read, keep, data
            best = [None, None]
            for v in range(CHUNK // LANES):
                at = builder.add(start, _constant(v * LANES))
                step = builder.sitofp(builder.sext(builder.load(gram.at(other, at, _SHORTS), align=2), _INTS), _FLOATS)
                place = a.at(row, at, _FLOATS)
                step = builder.fmul(c, step, flags=("contract",))
                value = builder.fsub(builder.load(place, align=4), step, flags=("contract",))
                builder.store(value, place, align=4)
                size = builder.and_(builder.bitcast(value, _INTS), mask)
                best[v % 2] = size if best[v % 2] is None else _greater(builder, size, best[v % 2])
            peak = _greater(builder, best[0], best[1])
            place = peaks.at(row, builder.mul(loop.index, _constant(LANES)), _INTS)
            builder.store(peak, place, align=4)
            builder.store(_greater(builder, peak, builder.load(greatest)), greatest)
        greatest = _across(builder, builder.load(greatest), lambda a, b: _greater(builder, a, b))
        return builder.bitcast(greatest, _F32)

    return types.float32(a, types.int64, gram, types.int64, types.int64, types.float32, types.boolean, peaks), generate


@intrinsic
def next_chunk(typing, peaks, row, start, low):
    """The first chunk from `start` on of which a peak in peaks[row] is at least `low`, or the number of chunks."""

    def generate(context, builder, signature, arguments):
        peaks, row, start, low = arguments
        peaks = _Rows(context, builder, signature.args[0], peaks)
        low = _splat(builder, low)
        n_chunks = builder.udiv(peaks.width, _constant(LANES))
        found = cgutils.alloca_once_value(builder, n_chunks)
        with cgutils.for_range(builder, n_chunks, start=start) as loop:
            values = builder.load(peaks.at(row, builder.mul(loop.index, _constant(LANES)), _FLOATS), align=4)
            high = builder.bitcast(builder.fcmp_ordered(">=", values, low), _MASK)
            with builder.if_then(builder.icmp_unsigned("!=", high, ir.Constant(_MASK, 0))):
                builder.store(loop.index, found)
                loop.do_break()
        return builder.load(found)

    return types.int64(peaks, types.int64, types.int64, types.float32), generate


@intrinsic
def at_least(typing, values, row, start, low, signed):
    """A bit for each of values[row, start : start + WORD]: whether it, or its size if `signed`, is at least `low`."""

    def generate(context, builder, signature, arguments):
        values, row, start, low, signed = arguments
        values = _Rows(context, builder, signature.args[0], values)
        low, mask = _splat(builder, low), _size_mask(builder, signed)
        word = _constant(0)
        for v in range(WORD // LANES):
            at = builder.add(start, _constant(v * LANES))
            value = builder.and_(builder.load(values.at(row, at, _INTS), align=4), mask)
            high = builder.fcmp_ordered(">=", builder.bitcast(value, _FLOATS), low)
            high = builder.zext(builder.bitcast(high, _MASK), _I64)
            word = builder.or_(word, builder.shl(high, _constant(v * LANES)))
        return word

    return types.uint64(values, types.int64, types.int64, types.float32, types.boolean), generate


@intrinsic
def first_bit(typing, word):
    """Where the lowest bit of a word that is not 0 stands."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


def _across(builder, vector, join):
    """All lanes joined to one value; halves are joined to each other, always in the same order."""
    width = LANES
    while width > 1:
        width //= 2
        mask = ir.Constant(_INTS, [(lane + width) % LANES for lane in range(LANES)])
        vector = join(vector, builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask))
    return builder.extract_element(vector, ir.Constant(_I32, 0))


def _size_mask(builder, signed):
    """What clears the sign bits where only the size counts."""
    return _splat(builder, builder.select(signed, ir.Constant(_I32, 0x7FFFFFFF), ir.Constant(_I32, 0xFFFFFFFF)))


def _greater(builder, a, b):
    """Floats above zero are ordered as their bits are, and integers are compared in one instruction everywhere."""
    return builder.select(builder.icmp_signed(">", a, b), a, b)


@intrinsic
def dot(typing, a, row, b, other):
    """Float32 inner product of a[row] and b[other], both [any, d]."""

    def generate(context, builder, signature, arguments):
        a, row, b, other = arguments
        a = _Rows(context, builder, signature.args[0], a)
        b = _Rows(context, builder, signature.args[2], b)
        zero = ir.Constant(_FLOATS, [0.0] * LANES)
        sums = [cgutils.alloca_once_value(builder, zero) for _ in range(DEPTH // LANES)]
        with _blocks(builder, a.width, DEPTH) as loop:
            for v, total in enumerate(sums):
                at = builder.add(builder.mul(loop.index, _constant(DEPTH)), _constant(v * LANES))
                left, right = (
                    builder.load(rows.at(which, at, _FLOATS), align=4) for rows, which in ((a, row), (b, other))
                )
                product = builder.fmul(left, right, flags=("contract",))
                builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)
        first, second, third, fourth = (builder.load(total) for total in sums)
        total = builder.fadd(builder.fadd(first, second), builder.fadd(third, fourth))
        return _across(builder, total, builder.fadd)

    return types.float32(a, types.int64, b, types.int64), generate


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
