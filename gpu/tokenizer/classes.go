package tokenizer

import "unicode"

// The patterns of tokenizers know Unicode 16, and their Digits Unicode 17, while Go's tables are of Unicode 15: what came between. Found by
// asking tokenizers 0.23 about every code point.
var (
	newLetters = &unicode.RangeTable{
		R16: []unicode.Range16{{Lo: 0x1c89, Hi: 0x1c8a, Stride: 1}, {Lo: 0xa7cb, Hi: 0xa7cd, Stride: 1}, {Lo: 0xa7da, Hi: 0xa7dc, Stride: 1}},
		R32: ranges(0x105c0, 0x105f3, 0x10d4a, 0x10d65, 0x10d6f, 0x10d85, 0x10ec2, 0x10ec4, 0x11380, 0x11389, 0x1138b, 0x1138b, 0x1138e, 0x1138e,
			0x11390, 0x113b5, 0x113b7, 0x113b7, 0x113d1, 0x113d1, 0x113d3, 0x113d3, 0x11bc0, 0x11be0, 0x13460, 0x143fa, 0x16100, 0x1611d,
			0x16d40, 0x16d6c, 0x18cff, 0x18cff, 0x1e5d0, 0x1e5ed, 0x1e5f0, 0x1e5f0, 0x2ebf0, 0x2ee5d),
	}
	newNumbers = &unicode.RangeTable{
		R32: ranges(0x10d40, 0x10d49, 0x116d0, 0x116e3, 0x11bf0, 0x11bf9, 0x16130, 0x16139, 0x16d70, 0x16d79, 0x1ccf0, 0x1ccf9, 0x1e5f1, 0x1e5fa),
	}
	newerNumbers = &unicode.RangeTable{R32: ranges(0x11de0, 0x11de9, 0x16ff4, 0x16ff6)}
)

// ranges takes the first and the last of each.
func ranges(ends ...uint32) []unicode.Range32 {
	all := make([]unicode.Range32, 0, len(ends)/2)
	for i := 0; i < len(ends); i += 2 {
		all = append(all, unicode.Range32{Lo: ends[i], Hi: ends[i+1], Stride: 1})
	}
	return all
}

func isLetter(r rune) bool {
	return unicode.Is(unicode.L, r) || (r > 0x1c88 && unicode.Is(newLetters, r))
}

func isNumber(r rune) bool {
	return unicode.Is(unicode.N, r) || (r > 0x10d3f && unicode.Is(newNumbers, r))
}

// isDigit is what Digits takes for a number.
func isDigit(r rune) bool { return isNumber(r) || (r > 0x11ddf && unicode.Is(newerNumbers, r)) }

func isSymbol(r rune) bool { return !isLetter(r) && !isNumber(r) && !unicode.IsSpace(r) }
