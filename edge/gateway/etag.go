package gateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

// conditional answers 304 to whom has the answer already (RFC 9110, section 13.1.2). An answer without an ETag of its own gets one of
// its content, for which it is held back until it is whole: those are pages of a list and single objects.
func conditional(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if op := operationOf(c); op == nil || !op.etag {
			return next(c)
		}
		w := c.Response()
		held := &heldWriter{ResponseWriter: w.Writer, match: c.Request().Header.Get("If-None-Match")}
		w.Writer = held
		err := next(c)
		w.Writer = held.ResponseWriter
		if err != nil {
			if held.holding { // nothing was sent yet, so it can still become a problem
				w.Committed = false
			}
			return err
		}
		return held.finish()
	}
}

// heldWriter decides on a status of 200 whether to pass it on, and holds the content back if that depends on it.
type heldWriter struct {
	http.ResponseWriter
	match            string
	buffer           bytes.Buffer
	holding, dropped bool
}

func (h *heldWriter) WriteHeader(status int) {
	switch {
	case status != http.StatusOK:
	case h.Header().Get("ETag") == "":
		h.holding = true
		return
	case matches(h.match, h.Header().Get("ETag")):
		h.dropped = true
		status = h.notModified()
	default:
		h.Header().Set("Cache-Control", "private, no-cache")
	}
	h.ResponseWriter.WriteHeader(status)
}

func (h *heldWriter) Write(b []byte) (int, error) {
	switch {
	case h.holding:
		return h.buffer.Write(b)
	case h.dropped:
		return len(b), nil
	}
	return h.ResponseWriter.Write(b)
}

func (h *heldWriter) finish() error {
	if !h.holding {
		return nil
	}
	sum := sha256.Sum256(h.buffer.Bytes())
	h.Header().Set("ETag", `"`+hex.EncodeToString(sum[:16])+`"`)
	if matches(h.match, h.Header().Get("ETag")) {
		h.ResponseWriter.WriteHeader(h.notModified())
		return nil
	}
	h.Header().Set("Cache-Control", "private, no-cache")
	h.ResponseWriter.WriteHeader(http.StatusOK)
	_, err := h.ResponseWriter.Write(h.buffer.Bytes())
	return err
}

func (h *heldWriter) notModified() int {
	for _, name := range []string{"Content-Type", "Content-Length", "Content-Disposition"} {
		h.Header().Del(name)
	}
	h.Header().Set("Cache-Control", "private, no-cache")
	return http.StatusNotModified
}

// matches says whether an If-None-Match names etag, comparing weakly as RFC 9110 has it. Our tags hold no comma.
func matches(header, etag string) bool {
	for tag := range strings.SplitSeq(header, ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
			return true
		}
	}
	return false
}
