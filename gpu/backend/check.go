package backend

import (
	"slices"

	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
)

// The checks below are the argument rules of Pass, in one place so that every implementation refuses the same calls with the
// same words. They cost nothing beside the operation they guard.

func mismatch(op, format string, args ...any) error {
	return fault.New(fault.Internal, op, format, args...)
}

// CheckIDs refuses ids outside [0, n).
func CheckIDs(op string, ids []int32, n int) error {
	for i, id := range ids {
		if id < 0 || int(id) >= n {
			return mismatch(op, "id %d at row %d is outside [0, %d)", id, i, n)
		}
	}
	return nil
}

// CheckSame refuses two shapes that differ.
func CheckSame(op string, a, b Tensor) error {
	ar, ac := a.Dims()
	br, bc := b.Dims()
	if ar != br || ac != bc {
		return mismatch(op, "shapes [%d, %d] and [%d, %d] differ", ar, ac, br, bc)
	}
	return nil
}

// CheckLinear refuses a product x [rows, cols] · w [out, in]ᵀ whose shapes do not fit.
func CheckLinear(x Tensor, out, in int, residual Tensor) error {
	rows, cols := x.Dims()
	if cols != in {
		return mismatch("linear", "input has %d columns, the weight takes %d", cols, in)
	}
	if residual == nil {
		return nil
	}
	if r, c := residual.Dims(); r != rows || c != out {
		return mismatch("linear", "residual is [%d, %d], the result [%d, %d]", r, c, rows, out)
	}
	return nil
}

// FactorShape is what CheckUpdate needs to know of a factor.
type FactorShape struct {
	Rank, In, Out int
	Scale         float32
}

// CheckPacked refuses a type that is not taken, and data of another size.
func CheckPacked(w Packed, taken bool) error {
	row, whole := checkpoint.PackedBytes(w.Type, w.Cols)
	if !taken || !whole || w.Rows < 1 || row < 1 || len(w.Data)/row != w.Rows || len(w.Data)%row != 0 {
		return mismatch("packed", "%d bytes of %s for [%d, %d]", len(w.Data), w.Type, w.Rows, w.Cols)
	}
	return nil
}

// CheckBias refuses a bias that has not one number per output.
func CheckBias(out, bias int) error {
	if bias != out {
		return mismatch("linear", "bias of %d for %d outputs", bias, out)
	}
	return nil
}

// CheckNorm refuses a gain that fits neither a row nor stretches of it.
func CheckNorm(cols, gain int) error {
	if gain == cols || (gain > 0 && gain%4 == 0 && cols%gain == 0) {
		return nil
	}
	return mismatch("norm", "gain of %d for %d columns", gain, cols)
}

// CheckRotate refuses heads that do not divide the columns into even widths, and angles of another shape.
func CheckRotate(x, angles Tensor, heads int) error {
	rows, cols := x.Dims()
	if heads <= 0 || cols%heads != 0 || cols/heads%2 != 0 {
		return mismatch("rotate", "%d heads over %d columns", heads, cols)
	}
	if r, c := angles.Dims(); r != rows || c != cols/heads {
		return mismatch("rotate", "angles are [%d, %d] for %d rows of heads of %d", r, c, rows, cols/heads)
	}
	return nil
}

// CheckUpdate refuses segments out of order or out of range, unknown modules, factors of other shapes, and, in product
// segments, factors that disagree in rank or scale. shape reports false for a resident that is no factor of the backend.
func CheckUpdate(u *Update, rows, out, in int, shape func(Resident) (FactorShape, bool)) error {
	if u == nil {
		return nil
	}
	previous := 0
	for i, s := range u.Segments {
		if s.Row0 < previous || s.Row1 < s.Row0 || s.Row1 > rows {
			return mismatch("update", "segment %d covers rows [%d, %d) of %d, after row %d", i, s.Row0, s.Row1, rows, previous)
		}
		previous = s.Row1
		if err := checkTerms(u.Factors, s, out, in, shape); err != nil {
			return err
		}
	}
	return nil
}

func checkTerms(factors []Resident, s Segment, out, in int, shape func(Resident) (FactorShape, bool)) error {
	var first *FactorShape
	for _, t := range s.Terms {
		if t.Module < 0 || t.Module >= len(factors) {
			return mismatch("update", "module %d of %d", t.Module, len(factors))
		}
		if factors[t.Module] == nil {
			continue
		}
		f, ok := shape(factors[t.Module])
		if !ok {
			return mismatch("update", "module %d is not a factor of this backend", t.Module)
		}
		if f.In != in || f.Out != out {
			return mismatch("update", "module %d updates a map [%d, %d], not [%d, %d]", t.Module, f.Out, f.In, out, in)
		}
		if first == nil {
			first = &f
		} else if s.Product && (f.Rank != first.Rank || f.Scale != first.Scale) {
			return mismatch("update", "module %d has rank %d and scale %g; a product needs rank %d and scale %g throughout",
				t.Module, f.Rank, f.Scale, first.Rank, first.Scale)
		}
	}
	return nil
}

// maxPosition keeps the arithmetic on positions from wrapping round.
const maxPosition = 1 << 40

// CheckAttention refuses heads that do not divide the columns or each other, spans out of range, a window that leaves a row no key, and a
// bias that misses a distance.
func CheckAttention(q, k, v Tensor, a Attention) error {
	qRows, cols := q.Dims()
	kRows, kCols := k.Dims()
	vRows, vCols := v.Dims()
	if a.Heads <= 0 || cols%a.Heads != 0 {
		return mismatch("attention", "%d heads over %d columns", a.Heads, cols)
	}
	if a.KVHeads < 0 || (a.KVHeads > 0 && a.Heads%a.KVHeads != 0) {
		return mismatch("attention", "%d heads over %d of keys", a.Heads, a.KVHeads)
	}
	if a.Window < 0 || a.Window > maxPosition || (a.Window > 0 && !a.Causal) {
		return mismatch("attention", "a window of %d, causal %v", a.Window, a.Causal)
	}
	if kCols != cols/a.Groups() || vCols != kCols || kRows != vRows {
		return mismatch("attention", "q has %d columns, k is [%d, %d], v is [%d, %d]", cols, kRows, kCols, vRows, vCols)
	}
	if a.BiasZero > maxPosition || a.BiasZero < -maxPosition {
		return mismatch("attention", "distance 0 at row %d of the bias, beyond %d", a.BiasZero, maxPosition)
	}
	distances := 0
	if a.Bias != nil {
		distances = len(a.Bias) / a.Heads
	}
	previous := 0
	for i, s := range a.Spans {
		if s.Q0 < previous || s.Q1 < s.Q0 || s.Q1 > qRows || !s.finds(kRows) || s.QPos < 0 || s.QPos > maxPosition {
			return mismatch("attention", "span %d (%+v) does not fit %d queries after row %d and %d keys", i, s, qRows, previous, kRows)
		}
		previous = s.Q1
		if s.Q0 == s.Q1 || s.K0 == s.K1 {
			continue
		}
		if last := s.QPos + s.Q1 - s.Q0 - 1; a.First(last) >= s.K1-s.K0 {
			return mismatch("attention", "span %d (%+v) has a row at position %d that sees no key within a window of %d", i, s, last, a.Window)
		}
		if a.Bias == nil {
			continue
		}
		lowest := a.BiasZero - (s.QPos + s.Q1 - s.Q0 - 1)
		highest := a.BiasZero + (s.K1 - s.K0 - 1) - s.QPos
		if a.Causal {
			highest = min(highest, a.BiasZero)
		}
		if lowest < 0 || highest >= distances {
			return mismatch("attention", "span %d needs bias rows [%d, %d] of %d", i, lowest, highest, distances)
		}
	}
	return nil
}

// finds says whether the keys of a span are among so many rows.
func (s Span) finds(rows int) bool {
	if s.K0 < 0 || s.K1 < s.K0 {
		return false
	}
	if s.Pages == nil {
		return s.K1 <= rows
	}
	outside := func(page int32) bool { return page < 0 || int(page) >= rows/PageRows }
	return s.K0 == 0 && s.K1 <= len(s.Pages)*PageRows && !slices.ContainsFunc(s.Pages, outside)
}

// CheckScatter refuses rows out of range or repeated, and columns that differ.
func CheckScatter(dst, src Tensor, rows []int32) error {
	dRows, dCols := dst.Dims()
	sRows, sCols := src.Dims()
	if dCols != sCols || sRows != len(rows) {
		return mismatch("scatter", "%d rows of [%d, %d] into [%d, %d]", len(rows), sRows, sCols, dRows, dCols)
	}
	seen := make(map[int32]bool, len(rows))
	for i, r := range rows {
		if r < 0 || int(r) >= dRows || seen[r] {
			return mismatch("scatter", "row %d goes to row %d of %d, out of range or a second time", i, r, dRows)
		}
		seen[r] = true
	}
	return nil
}

// CheckSplit refuses heads that do not divide the columns, and for joining also the rows.
func CheckSplit(x Tensor, heads int, joining bool) error {
	rows, cols := x.Dims()
	if heads <= 0 || cols%heads != 0 || (joining && rows%heads != 0) {
		return mismatch("heads", "%d heads of [%d, %d]", heads, rows, cols)
	}
	return nil
}
