package host

import (
	"io"
	"os/exec"

	"github.com/medley-lora/medley/shared/search"
)

// Process is the process of an isolated guest.
func (i *Isolated) Process() *exec.Cmd { return i.command }

// SendAsk sends a sandbox a guest and asks it for a candidate.
func SendAsk(w io.Writer, wasm []byte, p search.Problem) error {
	if err := writeFrame(w, request{Op: opOpen, Wasm: wasm, Limits: DefaultLimits(), Problem: p}); err != nil {
		return err
	}
	return writeFrame(w, request{Op: opAsk, N: 1})
}
