// Package edge holds the specification of the API, which all packages below it keep to.
package edge

import _ "embed" // the specification

// OpenAPI is the specification, OpenAPI 3.1 in YAML. It must not be changed.
//
//go:embed openapi.yaml
var OpenAPI []byte
