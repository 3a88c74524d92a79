// Package api is edge/openapi.yaml as Go: the models, the interface that the gateway implements, and a client. It is generated; the
// drift test beside it fails when it is older than the specification.
package api

//go:generate go tool -modfile=../../tools/go.mod oapi-codegen -config generate.yaml -o api.gen.go ../openapi.yaml
