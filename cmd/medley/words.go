package main

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/medley-lora/medley/shared/checkpoint"
)

// printable quotes a text of strangers that would do something to a terminal.
func printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// counted writes 1234567 as 1.23 M.
func counted(n int64) string { return inThousands(n, []string{"", " k", " M", " G", " T"}) }

// sized writes bytes in the powers of 1000 that disks are sold in.
func sized(bytes int64) string { return inThousands(bytes, []string{" B", " kB", " MB", " GB", " TB"}) }

func inThousands(n int64, units []string) string {
	if n == 0 {
		return "-"
	}
	v := float64(n)
	for len(units) > 1 && v >= 999.5 {
		v, units = v/1000, units[1:]
	}
	return strconv.FormatFloat(v, 'g', 3, 64) + units[0]
}

// typesOf lists the types of a checkpoint's tensors.
func typesOf(store *checkpoint.Store) []string {
	types := map[string]bool{}
	for _, name := range store.Names() {
		info, _ := store.Info(name)
		types[string(info.DType)] = true
	}
	return sortedKeys(types)
}

func sortedKeys(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }
