package kernel

import (
	"embed"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// The texts in wgsl/ are WGSL in which ${…} stands for a constant's text, or for what a sum of products of integers and constants comes to,
// and in which whole lines say what becomes of others:
//
//	//#if name == value … //#else if name == value … //#else … //#end   the lines for the constant's value; `//#if name` is `//#if name == true`
//	//#for i in count … //#end                                          the lines for each i from 0 to below a constant or an integer
//	//#for x in q k v … //#end                                          the lines for each of several words
//	//#include name                                                     another text without its head, which ends at the first empty line
//
// A package for templates would do it too, but reflection on methods keeps the linker from leaving out what is never called: half of the
// page's program.

//go:embed wgsl/*.wgsl
var files embed.FS

// constants are what a text is made with: integers, truths and names.
type constants map[string]any

// specialise fills in the text called name. What is wrong with a text is a panic: it is part of the program, and a test makes every variant.
func specialise(name string, c constants) string {
	t := specialiser{constants: maps.Clone(c)}
	t.lines(load(name))
	return t.out.String()
}

func load(name string) []string {
	text, err := files.ReadFile("wgsl/" + name + ".wgsl")
	if err != nil {
		panic(err)
	}
	return slices.Collect(strings.Lines(string(text)))
}

type specialiser struct {
	out       strings.Builder
	constants constants // and the counters of the loops that are open
}

func (t *specialiser) lines(lines []string) {
	for len(lines) > 0 {
		words := directive(lines[0])
		if words == nil {
			t.line(lines[0])
			lines = lines[1:]
			continue
		}
		var parts [][]string
		switch words[0] {
		case "include":
			t.include(words[1])
			lines = lines[1:]
		case "if":
			parts, lines = block(lines)
			t.choose(parts)
		case "for":
			parts, lines = block(lines)
			t.repeat(words[1], words[3:], parts[0][1:])
		default:
			panic(fmt.Sprintf("%q begins nothing", lines[0]))
		}
	}
}

// directive is the words of a line that says what becomes of others, nil for any other line.
func directive(line string) []string {
	rest, ok := strings.CutPrefix(line, "//#")
	if !ok {
		return nil
	}
	return strings.Fields(rest)
}

// block takes apart what starts with //#if or //#for: its parts, each with its directive first, and the lines that follow its //#end.
func block(lines []string) (parts [][]string, rest []string) {
	depth, start := 0, 0
	for i, line := range lines {
		words := directive(line)
		if words == nil {
			continue
		}
		switch words[0] {
		case "if", "for":
			depth++
		case "else":
			if depth == 1 {
				parts, start = append(parts, lines[start:i]), i
			}
		case "end":
			if depth--; depth == 0 {
				return append(parts, lines[start:i]), lines[i+1:]
			}
		}
	}
	panic(fmt.Sprintf("%q has no end", lines[0]))
}

// choose takes the first part whose condition holds.
func (t *specialiser) choose(parts [][]string) {
	for _, part := range parts {
		condition := directive(part[0])
		if condition[0] == "else" {
			condition = condition[1:]
		}
		if len(condition) == 0 || t.holds(condition[1:]) {
			t.lines(part[1:])
			return
		}
	}
}

func (t *specialiser) holds(condition []string) bool {
	want := "true"
	if len(condition) == 3 {
		want = condition[2] // after ==
	}
	return t.text(condition[0]) == want
}

// repeat goes through some words, or the numbers from 0 to below what a single one stands for.
func (t *specialiser) repeat(name string, words, lines []string) {
	if len(words) == 1 {
		words = make([]string, t.value(words[0]))
		for i := range words {
			words[i] = strconv.Itoa(i)
		}
	}
	for _, word := range words {
		t.constants[name] = word
		t.lines(lines)
	}
	delete(t.constants, name)
}

func (t *specialiser) include(name string) {
	lines := load(name)
	for lines[0] != "\n" {
		lines = lines[1:]
	}
	t.lines(lines[1:])
}

// line writes a line with its ${…} filled in.
func (t *specialiser) line(line string) {
	for {
		before, after, found := strings.Cut(line, "${")
		t.out.WriteString(before)
		if !found {
			return
		}
		inside, rest, found := strings.Cut(after, "}")
		if !found {
			panic(fmt.Sprintf("%q has no closing brace", line))
		}
		if strings.ContainsAny(inside, "+*") {
			t.out.WriteString(strconv.Itoa(t.sum(inside)))
		} else {
			t.out.WriteString(t.text(inside))
		}
		line = rest
	}
}

func (t *specialiser) sum(terms string) int {
	sum := 0
	for term := range strings.SplitSeq(terms, "+") {
		product := 1
		for factor := range strings.SplitSeq(term, "*") {
			product *= t.value(strings.TrimSpace(factor))
		}
		sum += product
	}
	return sum
}

func (t *specialiser) text(name string) string {
	value, ok := t.constants[name]
	if !ok {
		panic(fmt.Sprintf("there is no constant %q", name))
	}
	return fmt.Sprint(value)
}

// value is an integer, or a constant that is one.
func (t *specialiser) value(word string) int {
	n, err := strconv.Atoi(word)
	if err == nil {
		return n
	}
	n, err = strconv.Atoi(t.text(word))
	if err != nil {
		panic(fmt.Sprintf("constant %q is no integer", word))
	}
	return n
}
