package main

import (
	"fmt"
	"time"

	"github.com/medley-lora/medley/edge/auth"
	"github.com/medley-lora/medley/shared/fault"
)

type tokenCommand struct {
	Create tokenCreateCommand `cmd:"" help:"Make an access token with the keys of a server on this machine."`
}

type tokenCreateCommand struct {
	Data string `placeholder:"DIR" help:"The server's folder (default: ${data})."`
	keysFlag
	Scopes  []string      `default:"admin" help:"What the token allows: ${scopes}."`
	TTL     time.Duration `name:"ttl" default:"1h" help:"How long it is good for, at most 24h."`
	Subject string        `default:"admin" help:"Whom it is for: whoever has it sees the objects of this name."`
	Issuer  string        `default:"medley" help:"The server's --issuer."`
}

func (c *tokenCreateCommand) Run(a *app) error {
	dir := c.Data
	if dir == "" {
		dir = defaultData()
	}
	folder := c.keysFolder(dir)
	if !isFolder(folder) {
		return fault.New(fault.Invalid, "--data", "there are no keys in %s; medley serve makes them at its first start", folder)
	}
	keys, err := auth.OpenKeySet(folder, nil)
	if err != nil {
		return fault.In("--keys", err)
	}
	authority, err := auth.New(auth.Options{Issuer: c.Issuer, Keys: keys, Revocations: auth.NoRevocations{}})
	if err != nil {
		return err
	}
	token, err := authority.Issue(c.Subject, auth.Request{Scopes: c.Scopes, TTL: c.TTL})
	if err != nil {
		return err
	}
	a.note("For %s until %s; its id, to revoke it, is %s", c.Subject, token.Expires.Local().Format(time.DateTime), token.ID)
	fmt.Fprintln(a.stdout, token.Text)
	return nil
}

// scopeHelp lists what tokens may allow.
func scopeHelp() string {
	text := ""
	for i, s := range auth.Table() {
		if i > 0 {
			text += ", "
		}
		text += string(s.Scope)
	}
	return text
}
