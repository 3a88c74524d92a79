package tokenizer

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// clusterLen returns the length in bytes of the extended grapheme cluster that text starts with (Unicode Standard Annex 29,
// rules GB3 to GB13); text is not empty.
func clusterLen(text string) int {
	r, n := utf8.DecodeRuneInString(text)
	var c cluster
	c.add(r, classOf(r))
	for n < len(text) {
		r, width := utf8.DecodeRuneInString(text[n:])
		class := classOf(r)
		if !c.continues(r, class) {
			break
		}
		c.add(r, class)
		n += width
	}
	return n
}

// clusterClass is the Grapheme_Cluster_Break property, as far as the rules tell classes apart.
type clusterClass int

const (
	classOther clusterClass = iota
	classCR
	classLF
	classControl
	classExtend
	classJoiner // ZERO WIDTH JOINER
	classRegional
	classPrepend
	classSpacing
	classHangulL
	classHangulV
	classHangulT
	classHangulLV
	classHangulLVT
)

// cluster is what the rules must know of the runes so far.
type cluster struct {
	last      clusterClass
	regionals int  // trailing regional indicators
	pictured  bool // a pictograph and only Extend since (GB11)
	joined    bool // and then a joiner
	consonant bool // an Indic consonant and only Extend since (GB9c)
	linked    bool // with a linker (virama) among them
}

// continues reports whether a rune r of class next belongs to the cluster.
func (c *cluster) continues(r rune, next clusterClass) bool {
	switch {
	case c.last == classCR && next == classLF: // GB3
		return true
	case c.last == classCR || c.last == classLF || c.last == classControl: // GB4
		return false
	case next == classCR || next == classLF || next == classControl: // GB5
		return false
	case next == classExtend || next == classJoiner || next == classSpacing || c.last == classPrepend: // GB9, 9a, 9b
		return true
	case c.linked && unicode.Is(indicConsonant, r): // GB9c
		return true
	case c.joined && unicode.Is(pictographic, r): // GB11
		return true
	case next == classRegional: // GB12, GB13
		return c.regionals%2 == 1
	}
	switch c.last { // GB6 to GB8
	case classHangulL:
		return next == classHangulL || next == classHangulV || next == classHangulLV || next == classHangulLVT
	case classHangulLV, classHangulV:
		return next == classHangulV || next == classHangulT
	case classHangulLVT, classHangulT:
		return next == classHangulT
	}
	return false
}

// add takes r into the cluster.
func (c *cluster) add(r rune, class clusterClass) {
	inner := class == classJoiner || class == classExtend && r != 0x200c // InCB=Extend or Linker
	c.joined = c.pictured && class == classJoiner
	c.pictured = unicode.Is(pictographic, r) || c.pictured && class == classExtend
	c.linked = c.consonant && inner && (c.linked || unicode.Is(indicLinker, r))
	c.consonant = unicode.Is(indicConsonant, r) || c.consonant && inner
	if class == classRegional {
		c.regionals++
	} else {
		c.regionals = 0
	}
	c.last = class
}

//go:generate python graphemedata.py

// pictographic, indicConsonant and indicLinker are the properties that rules GB9c and GB11 use beside the class.
var (
	pictographic   = rangeTable(pictographicData)
	indicConsonant = rangeTable(indicConsonantData)
	indicLinker    = rangeTable(indicLinkerData)
)

// classTables holds the classes that are looked up; the others are computed.
var classTables = []struct {
	class clusterClass
	table *unicode.RangeTable
}{
	{classExtend, rangeTable(extendData)},
	{classControl, rangeTable(controlData)},
	{classSpacing, rangeTable(spacingData)},
	{classPrepend, rangeTable(prependData)},
	{classHangulL, rangeTable(hangulLData)},
	{classHangulV, rangeTable(hangulVData)},
	{classHangulT, rangeTable(hangulTData)},
}

func classOf(r rune) clusterClass {
	switch {
	case r >= ' ' && r < 0x7f:
		return classOther
	case r == '\r':
		return classCR
	case r == '\n':
		return classLF
	case r == 0x200d:
		return classJoiner
	case r >= 0xac00 && r <= 0xd7a3 && (r-0xac00)%28 == 0:
		return classHangulLV
	case r >= 0xac00 && r <= 0xd7a3:
		return classHangulLVT
	case r >= 0x1f1e6 && r <= 0x1f1ff:
		return classRegional
	}
	for _, t := range classTables {
		if unicode.Is(t.table, r) {
			return t.class
		}
	}
	return classOther
}

// rangeTable reads ascending code points in hexadecimal, "a-b c …".
func rangeTable(data string) *unicode.RangeTable {
	t := &unicode.RangeTable{}
	for item := range strings.FieldsSeq(data) {
		low, high, isRange := strings.Cut(item, "-")
		if !isRange {
			high = low
		}
		lo, hi := codePoint(low), codePoint(high)
		t.R32 = append(t.R32, unicode.Range32{Lo: lo, Hi: hi, Stride: 1})
	}
	return t
}

func codePoint(hex string) uint32 {
	n, err := strconv.ParseUint(hex, 16, 32)
	if err != nil {
		panic(err) // the tables are part of the program
	}
	return uint32(n)
}
