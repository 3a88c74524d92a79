package auth_test

import (
	"context"
	"strings"
	"testing"

	"github.com/medley-lora/medley/edge/auth"
	"github.com/medley-lora/medley/edge/auth/authtest"
	"github.com/medley-lora/medley/shared/fault"
)

// FuzzVerify: no text is believed but the tokens that were issued, to the letter.
func FuzzVerify(f *testing.F) {
	w := authtest.New(f)
	good := w.Token(f, "ann", auth.ModulesRead).Text
	// The good token of this process stands for "GOOD", so that the corpus means the same in another, and its parts for "HEAD", "BODY" and "SIGN".
	parts := strings.Split(good, ".")
	fill := strings.NewReplacer("GOOD", good, "HEAD", parts[0], "BODY", parts[1], "SIGN", parts[2])
	for _, seed := range []string{"GOOD", "HEAD.BODY.SIGN", "HEAD.BODY.", "HEAD..SIGN", ".BODY.SIGN", "GOOD.", "GOOD=", "GOOD\n", " GOOD", "HEAD.BODY.SIGNA", "eyJhbGciOiJub25lIn0.BODY."} {
		f.Add(seed)
	}
	for _, b := range w.Bad(f, "ann", auth.ModulesRead) {
		if len(b.Headers) == 1 && b.Error == "invalid_token" && len(b.Headers[0]) < 4096 {
			f.Add(strings.TrimPrefix(b.Headers[0], "Bearer "))
		}
	}
	ctx := context.Background()
	f.Fuzz(func(t *testing.T, text string) {
		text = fill.Replace(text)
		p, err := w.Authority.Verify(ctx, text)
		switch {
		case text == good:
			if err != nil || p.ID != "ann" || !p.Allows(auth.ModulesRead) {
				t.Errorf("a good token: %+v, %v", p, err)
			}
		case fault.CodeOf(err) != auth.Unauthenticated || p.ID != "" || strings.ContainsAny(err.Error(), "\"\\\r\n"):
			t.Errorf("%q: %+v, %v", text, p, err)
		}
	})
}

// BenchmarkVerify measures what the door costs a request, without the look-up of revocations.
func BenchmarkVerify(b *testing.B) {
	w := authtest.New(b)
	good := w.Token(b, "ann", auth.ModulesRead, auth.ComposeRun).Text
	dots := strings.Repeat(".", 1<<20)
	for name, text := range map[string]string{"seen before": good, "bad signature": good[:len(good)-8] + "AAAAAAAA", "1 MB of dots": dots} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.Authority.Verify(context.Background(), text); (err == nil) != (name == "seen before") {
					b.Fatal(err)
				}
			}
		})
	}
}
