package hub

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"unicode"

	"github.com/medley-lora/medley/shared/fault"
)

// refusal says in words what an answer of 400 and above means. The codes are those that huggingface_hub's hf_raise_for_status knows.
func (c *Client) refusal(r *response, place string) error {
	anonymous := c.config.Token == ""
	switch r.Header.Get("X-Error-Code") {
	case "GatedRepo":
		if anonymous {
			return fault.New(fault.NotFound, place, "is gated: accept its terms on its page on the Hub while signed in, and give your token (HF_TOKEN, or the token file that `hf auth login` writes)")
		}
		return fault.New(fault.NotFound, place, "is gated, and your token's account is not (yet) allowed in: accept its terms on its page on the Hub, or wait for its owners to accept you")
	case "RevisionNotFound":
		return fault.New(fault.NotFound, place, "has no such branch, tag or commit")
	case "EntryNotFound":
		return fault.New(fault.NotFound, place, "there is no such file in this revision")
	case "RepoNotFound":
		return c.noRepository(place)
	}
	said := c.said(r)
	switch r.StatusCode {
	case http.StatusUnauthorized:
		if !anonymous {
			return fault.New(fault.Invalid, place, "the Hub does not accept the token: it may have expired, or be that of another Hub%s", said)
		}
		return c.noRepository(place)
	case http.StatusForbidden:
		return fault.New(fault.Invalid, place, "the token does not allow this%s", said)
	case http.StatusNotFound:
		return fault.New(fault.NotFound, place, "the Hub does not have it%s", said)
	case http.StatusTooManyRequests:
		return fault.Wrap(ErrUnreachable, fault.Internal, place, "the Hub takes no more requests for now (status 429)%s", said)
	case http.StatusInsufficientStorage:
		return fault.New(fault.Internal, place, "the account's storage on the Hub is full%s", said)
	}
	if r.StatusCode >= 500 {
		return fault.Wrap(ErrUnreachable, fault.Internal, place, "the Hub has a problem of its own (status %d)%s", r.StatusCode, said)
	}
	return fault.New(fault.Invalid, place, "the Hub refuses (status %d)%s", r.StatusCode, said)
}

func (c *Client) noRepository(place string) error {
	if c.config.Token == "" {
		return fault.New(fault.NotFound, place, "the Hub has no such repository, or it is private: then give your token (HF_TOKEN, or the token file that `hf auth login` writes)")
	}
	return fault.New(fault.NotFound, place, "the Hub has no such repository, or your token may not see it")
}

// said is what a server adds in words, as ": words", made safe to print.
func (c *Client) said(r *response) string {
	text := r.Header.Get("X-Error-Message")
	if text == "" && strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		var e struct{ Error any }
		if data, err := io.ReadAll(io.LimitReader(r.Body, 16<<10)); err == nil && json.Unmarshal(data, &e) == nil {
			text, _ = e.Error.(string)
		}
	}
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.TrimSpace(text))
	if text == "" {
		return ""
	}
	return fmt.Sprintf(": %.300s", text)
}

// unreachable says why no answer came, without the addresses that errors of package net carry. An error that is a fault already stays.
func (c *Client) unreachable(place string, err error) error {
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	if errors.Is(err, errPrivate) {
		return fault.Wrap(err, fault.Invalid, place, "the server redirects to a private address")
	}
	return fault.Wrap(fmt.Errorf("%w: %w", ErrUnreachable, err), fault.Internal, place, "the Hub cannot be reached: %s", reason(err))
}

func reason(err error) string {
	var name *net.DNSError
	var certificate *tls.CertificateVerificationError
	var errno syscall.Errno
	var timeout net.Error
	switch {
	case errors.As(err, &name):
		return "its name is not known here; is the network up?"
	case errors.As(err, &certificate):
		return "its certificate is not trusted"
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection ended early"
	}
	return "the connection failed"
}
