package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"

	"github.com/medley-lora/medley/edge/auth"
	"github.com/medley-lora/medley/shared/fault"
)

// externalIssuer is one of --external-issuers.
type externalIssuer struct {
	Name     string                  `json:"name"`
	Issuer   string                  `json:"issuer"`
	Audience string                  `json:"audience"`
	JWKS     string                  `json:"jwks"`
	Claim    string                  `json:"claim"` // the path to it, by dots
	Scopes   map[string][]auth.Scope `json:"scopes"`
}

// maxIssuers bytes of a file of issuers.
const maxIssuers = 1 << 20

func readExternalIssuers(path string) ([]auth.External, error) {
	const flag = "--external-issuers"
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, flag, "%s cannot be read: %v", path, errorWithoutPath(err))
	}
	if len(data) > maxIssuers {
		return nil, fault.New(fault.TooLarge, flag, "%s has more than %d bytes", path, maxIssuers)
	}
	var issuers []externalIssuer
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&issuers); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, flag, "%s is not a JSON list of issuers: %v", path, err)
	}
	var all []auth.External
	for _, i := range issuers {
		all = append(all, auth.External{
			Name: i.Name, Issuer: i.Issuer, Audience: i.Audience, JWKS: i.JWKS, Claim: strings.Split(i.Claim, "."), Scopes: i.Scopes,
		})
	}
	return all, nil
}
