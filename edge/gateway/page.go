package gateway

import (
	"bytes"
	_ "embed" // the page's template
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

//go:embed page.gohtml
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// The page shows the specification to people: it has what a caller needs of it, and loads nothing.
type (
	pageView struct {
		Title, Version, Description string
		Groups                      []groupView
		Schemas                     []schemaView
	}
	groupView struct {
		Name, Description string
		Operations        []operationView
	}
	operationView struct {
		ID, Method, Path, Summary, Description, Scope string
		Parameters                                    []fieldView
		Bodies, Answers                               []contentView
		Example                                       string
	}
	contentView struct {
		Status, Media, Description string
		Type                       typeView
	}
	schemaView struct {
		Name, Description, Example string
		Type                       typeView
		Fields                     []fieldView
	}
	fieldView struct {
		Name, In, Description string
		Required              bool
		Type                  typeView
	}
	// typeView is a type in words; Link is the schema that it is, or that its items are.
	typeView struct{ Before, Link, After string }
)

func renderPage(spec *openapi3.T) ([]byte, error) {
	view := pageView{Title: spec.Info.Title, Version: spec.Info.Version, Description: spec.Info.Description}
	operations, err := operationsOf(spec)
	if err != nil {
		return nil, err
	}
	for _, tag := range spec.Tags {
		group := groupView{Name: tag.Name, Description: tag.Description}
		for _, op := range operations {
			if o := op.item.GetOperation(op.Method); slices.Contains(o.Tags, tag.Name) {
				group.Operations = append(group.Operations, viewOperation(op, o))
			}
		}
		view.Groups = append(view.Groups, group)
	}
	for _, name := range slices.Sorted(maps.Keys(spec.Components.Schemas)) {
		view.Schemas = append(view.Schemas, viewSchema(name, spec.Components.Schemas[name].Value))
	}
	var page bytes.Buffer
	err = pageTemplate.Execute(&page, view)
	return page.Bytes(), err
}

func viewOperation(op Operation, o *openapi3.Operation) operationView {
	v := operationView{ID: op.ID, Method: op.Method, Path: op.path, Summary: o.Summary, Description: o.Description, Scope: op.Scope}
	for _, p := range op.parameters {
		v.Parameters = append(v.Parameters, fieldView{p.Value.Name, p.Value.In, p.Value.Description, p.Value.Required, viewType(p.Value.Schema)})
	}
	if o.RequestBody != nil {
		content := o.RequestBody.Value.Content
		for _, media := range slices.Sorted(maps.Keys(content)) {
			v.Bodies = append(v.Bodies, contentView{Media: media, Type: viewType(content[media].Schema)})
			if example := content[media].Schema.Value.Example; example != nil {
				v.Example = indented(example)
			}
		}
	}
	answers := o.Responses.Map()
	for _, status := range slices.Sorted(maps.Keys(answers)) {
		r := answers[status].Value
		if len(r.Content) == 0 {
			v.Answers = append(v.Answers, contentView{Status: status, Description: *r.Description})
		}
		for _, media := range slices.Sorted(maps.Keys(r.Content)) {
			v.Answers = append(v.Answers, contentView{
				Status: status, Description: *r.Description, Media: media, Type: viewType(r.Content[media].Schema),
			})
		}
	}
	return v
}

func viewSchema(name string, s *openapi3.Schema) schemaView {
	v := schemaView{Name: name, Description: s.Description, Type: viewType(&openapi3.SchemaRef{Value: s})}
	if s.Example != nil {
		v.Example = indented(s.Example)
	}
	for _, field := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[field]
		v.Fields = append(v.Fields, fieldView{Name: field, Description: p.Value.Description, Required: slices.Contains(s.Required, field), Type: viewType(p)})
	}
	return v
}

// viewType puts a type into words: what it is and what bounds it has.
func viewType(ref *openapi3.SchemaRef) typeView {
	if name, ok := strings.CutPrefix(ref.Ref, "#/components/schemas/"); ok {
		return typeView{Link: name}
	}
	s := ref.Value
	var v typeView
	switch {
	case len(s.OneOf) > 0:
		var all []string
		for _, one := range s.OneOf {
			t := viewType(one)
			all = append(all, t.Before+t.Link+t.After)
		}
		v.Before = strings.Join(all, "; or ")
	case s.Type == nil:
		v.Before = "anything"
	case s.Type.Is("array"):
		v = viewType(s.Items)
		v.Before = "list of " + v.Before
	default:
		v.Before = strings.Join(s.Type.Slice(), " or ")
	}
	v.After += bounds(s)
	return v
}

func bounds(s *openapi3.Schema) string {
	var all []string
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if len(s.Enum) > 0 {
		say("one of %s", strings.Trim(fmt.Sprint(s.Enum), "[]"))
	}
	if s.Min != nil {
		say("at least %v", *s.Min)
	}
	if s.ExclusiveMin.Value != nil {
		say("more than %v", *s.ExclusiveMin.Value)
	}
	if s.Max != nil {
		say("at most %.16v", *s.Max)
	}
	if s.MinLength > 1 {
		say("at least %d characters", s.MinLength)
	}
	if s.MaxLength != nil {
		say("at most %d characters", *s.MaxLength)
	}
	if s.MinItems > 0 {
		say("at least %d items", s.MinItems)
	}
	if s.MaxItems != nil {
		say("at most %d items", *s.MaxItems)
	}
	if s.Pattern != "" {
		say("like %s", s.Pattern)
	}
	if s.Default != nil {
		say("default %v", s.Default)
	}
	if len(all) == 0 {
		return ""
	}
	return ", " + strings.Join(all, ", ")
}

func indented(v any) string {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil { // of what was read from YAML, whose maps have names of strings
		return fmt.Sprint(v)
	}
	return string(data)
}
