package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/labstack/echo/v4"

	"github.com/medley-lora/medley/edge"
)

// Operation is a route of the API as the specification has it.
type Operation struct {
	ID, Method string
	Path       string // as Echo writes it: "/v1/modules/:module"
	Scope      string // that a token must have; "" for a public operation
	MaxBytes   int64  // of a body

	item       *openapi3.PathItem
	path       string // as the specification writes it
	parameters openapi3.Parameters
	query      []string                    // the parameters that a URL may have
	bodies     map[string]*openapi3.Schema // by media type; nil if there is no body
	etag       bool                        // whether an answer has one
	unlimited  bool                        // probes are not counted
	openAI     bool                        // its clients are OpenAI's
}

// defaultMaxBytes bounds bodies for which the specification says nothing else.
const defaultMaxBytes = 64 << 10

// loadSpec reads the specification.
func loadSpec() (*openapi3.T, error) {
	spec, err := openapi3.NewLoader().LoadFromData(edge.OpenAPI)
	if err != nil {
		return nil, fmt.Errorf("the specification of the API: %w", err)
	}
	return spec, nil
}

// Operations returns every operation of the specification, sorted by path and method.
func Operations() ([]Operation, error) {
	spec, err := loadSpec()
	if err != nil {
		return nil, err
	}
	return operationsOf(spec)
}

func operationsOf(spec *openapi3.T) ([]Operation, error) {
	var all []Operation
	for _, path := range spec.Paths.InMatchingOrder() {
		item := spec.Paths.Value(path)
		for method, o := range item.Operations() {
			op, err := newOperation(method, path, item, o)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", o.OperationID, err)
			}
			all = append(all, op)
		}
	}
	slices.SortFunc(all, func(a, b Operation) int {
		return strings.Compare(a.Path+" "+a.Method, b.Path+" "+b.Method)
	})
	return all, nil
}

func newOperation(method, path string, item *openapi3.PathItem, o *openapi3.Operation) (Operation, error) {
	op := Operation{
		ID: o.OperationID, Method: method, Path: strings.NewReplacer("{", ":", "}", "").Replace(path), MaxBytes: defaultMaxBytes,
		item: item, path: path,
		parameters: slices.Concat(item.Parameters, o.Parameters),
		etag:       o.Responses.Value("304") != nil,
		unlimited:  slices.Contains(o.Tags, "operation"),
		openAI:     slices.Contains(o.Tags, openAITag),
	}
	if o.Security == nil {
		return op, fmt.Errorf("names no security")
	}
	for _, requirement := range *o.Security {
		if len(requirement["bearer"]) != 1 {
			return op, fmt.Errorf("names not one scope")
		}
		op.Scope = requirement["bearer"][0]
	}
	if n, ok := o.Extensions["x-max-bytes"]; ok {
		data, err := json.Marshal(n)
		if err == nil {
			err = json.Unmarshal(data, &op.MaxBytes)
		}
		if err != nil {
			return op, fmt.Errorf("x-max-bytes: %w", err)
		}
	}
	for _, p := range op.parameters {
		if p.Value.In == openapi3.ParameterInQuery {
			op.query = append(op.query, p.Value.Name)
		}
	}
	if o.RequestBody != nil {
		op.bodies = map[string]*openapi3.Schema{}
		for media, content := range o.RequestBody.Value.Content {
			op.bodies[media] = content.Schema.Value
		}
	}
	return op, nil
}

// concreteFirst keeps a path without parameters from being taken for one with them: the specification of OpenAPI has /v1/plugins/validate
// match before /v1/plugins/{plugin}, whatever the method, where Echo's router goes on to the latter.
func concreteFirst(all []Operation) echo.MiddlewareFunc {
	methods := map[string][]string{} // by path
	for _, op := range all {
		methods[op.Path] = append(methods[op.Path], op.Method)
	}
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if allowed := methods[c.Request().URL.Path]; allowed != nil && strings.Contains(c.Path(), ":") {
				return allowing(allowed)(c)
			}
			return next(c)
		}
	}
}

// methodsAt returns the methods that the API has at the path of a URL, none if that is no path of its.
func methodsAt(all []Operation, path string) (methods []string) {
	parts := strings.Split(path, "/")
	for _, op := range all {
		template := strings.Split(op.Path, "/")
		fits := func(i int) bool { return strings.HasPrefix(template[i], ":") || template[i] == parts[i] }
		same := len(template) == len(parts)
		for i := 0; same && i < len(parts); i++ {
			same = fits(i)
		}
		if same {
			methods = append(methods, op.Method)
		}
	}
	return methods
}

// allowing refuses a request of a method that its path has not.
func allowing(methods []string) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Response().Header().Set(echo.HeaderAllow, strings.Join(append([]string{http.MethodOptions}, methods...), ", "))
		return echo.ErrMethodNotAllowed
	}
}

// publicSpec is the specification as it is served: in JSON, without what only the generator of the Go code reads.
func publicSpec(spec *openapi3.T) ([]byte, error) {
	data, err := spec.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var tree any
	if err := json.Unmarshal(data, &tree); err != nil {
		return nil, err
	}
	return json.Marshal(withoutGo(tree))
}

func withoutGo(tree any) any {
	switch t := tree.(type) {
	case map[string]any:
		for name, value := range t {
			if strings.HasPrefix(name, "x-go-") {
				delete(t, name)
			} else {
				t[name] = withoutGo(value)
			}
		}
	case []any:
		for i := range t {
			t[i] = withoutGo(t[i])
		}
	}
	return tree
}
