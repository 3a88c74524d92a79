package tokenizer

import (
	"strings"
	"testing"
)

func BenchmarkEncode(b *testing.B) {
	tok := sources(b)["spiece.model"]
	for name, text := range map[string]string{
		"English": strings.Repeat("pick the animal: the cat and the dog, seventeen red plums and a yellow hat. ", 1000),
		"mixed":   strings.Repeat("naïve café １２３ 日本語のテキスト हिन्दी 👍🏽 <extra_id_0> the cat ", 1000),
		"unknown": strings.Repeat("QZXJ", 20_000),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				tok.Encode(text)
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	data := file(b, "tokenizer.json")
	for b.Loop() {
		if _, err := FromJSON(data); err != nil {
			b.Fatal(err)
		}
	}
}
