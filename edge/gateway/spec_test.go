package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/medley-lora/medley/edge"
	"github.com/medley-lora/medley/edge/gateway"
)

func loadSpec(t *testing.T) *openapi3.T {
	t.Helper()
	spec, err := openapi3.NewLoader().LoadFromData(edge.OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// The specification is one, and its examples are what it says.
func TestSpecification(t *testing.T) {
	spec := loadSpec(t)
	if err := spec.Validate(context.Background(), openapi3.EnableExamplesValidation()); err != nil {
		t.Error(err)
	}
	examples := 0
	for name, ref := range spec.Components.Schemas {
		if ref.Value.Example == nil {
			continue
		}
		examples++
		// As JSON has it: YAML reads numbers and times as other types.
		data, err := json.Marshal(ref.Value.Example)
		if err != nil {
			t.Fatal(err)
		}
		var tree any
		if err := json.Unmarshal(data, &tree); err != nil {
			t.Fatal(err)
		}
		if err := ref.Value.VisitJSON(tree, openapi3.EnableFormatValidation()); err != nil {
			t.Errorf("the example of %s: %v", name, err)
		}
	}
	if examples < 15 {
		t.Errorf("%d examples", examples)
	}
}

// Whatever a client sends has a bound.
func TestRequestsAreBounded(t *testing.T) {
	spec := loadSpec(t)
	checked := 0
	var check func(place string, ref *openapi3.SchemaRef)
	check = func(place string, ref *openapi3.SchemaRef) {
		s := ref.Value
		checked++
		switch {
		case len(s.OneOf) > 0:
			for i, one := range s.OneOf {
				check(fmt.Sprintf("%s/oneOf/%d", place, i), one)
			}
		case s.Type == nil || len(s.Type.Slice()) != 1:
			t.Errorf("%s is not of one type", place)
		case s.Type.Is("string"):
			if s.MaxLength == nil && len(s.Enum) == 0 && s.Format != "date-time" {
				t.Errorf("%s has no longest string", place)
			}
		case s.Type.Is("array"):
			if s.MaxItems == nil {
				t.Errorf("%s has no longest list", place)
			}
			check(place+"/items", s.Items)
		case s.Type.Is("object"):
			closed := s.AdditionalProperties.Has != nil && !*s.AdditionalProperties.Has
			if more := s.AdditionalProperties.Schema; more != nil {
				check(place+"/*", more)
				closed = s.MaxProps != nil && s.PropertyNames != nil && s.PropertyNames.Value.MaxLength != nil
			}
			if !closed {
				t.Errorf("%s takes any fields", place)
			}
			for name, property := range s.Properties {
				check(place+"/"+name, property)
			}
		case s.Type.Is("integer"), s.Type.Is("number"):
			if s.Min == nil && s.ExclusiveMin.Value == nil || s.Max == nil && s.ExclusiveMax.Value == nil {
				t.Errorf("%s has no largest or no smallest number", place)
			}
		}
	}
	for path, item := range spec.Paths.Map() {
		for method, op := range item.Operations() {
			for _, p := range slices.Concat(item.Parameters, op.Parameters) {
				check(method+" "+path+"?"+p.Value.Name, p.Value.Schema)
			}
			if op.RequestBody != nil {
				for media, content := range op.RequestBody.Value.Content {
					check(method+" "+path+" "+media, content.Schema)
				}
			}
		}
	}
	if checked < 100 {
		t.Errorf("%d schemas were looked at", checked)
	}
}

// Every create can be repeated, but for tokens, which are not kept.
func TestCreatesAreIdempotent(t *testing.T) {
	creates := 0
	for path, item := range loadSpec(t).Paths.Map() {
		op := item.Post
		if op == nil || op.Responses.Value("201") == nil && op.OperationID != "createComposition" || op.OperationID == "createToken" {
			continue
		}
		creates++
		if op.Parameters.GetByInAndName("header", "Idempotency-Key") == nil {
			t.Errorf("POST %s takes no Idempotency-Key", path)
		}
	}
	if creates != 5 {
		t.Errorf("%d creates", creates)
	}
}

// Scopes that operations need are those that tokens can have.
func TestScopes(t *testing.T) {
	known := loadSpec(t).Components.Schemas["Scope"].Value.Enum
	operations, err := gateway.Operations()
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, op := range operations {
		if op.Scope != "" && !slices.Contains(known, any(op.Scope)) {
			t.Errorf("%s needs the scope %s, which is none", op.ID, op.Scope)
		}
		used[op.Scope] = true
	}
	for _, scope := range known {
		if !used[scope.(string)] {
			t.Errorf("no operation needs the scope %s", scope)
		}
	}
}
