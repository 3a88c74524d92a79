package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/labstack/echo/v4"

	"github.com/medley-lora/medley/shared/fault"
)

// check refuses what the specification does not allow, and fills in defaults, before a handler binds anything.
func (g *gateway) check(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		op := operationOf(c)
		if op == nil {
			return next(c)
		}
		if err := checkParameters(c, op); err != nil {
			return err
		}
		if err := g.checkBody(c, op); err != nil {
			return err
		}
		return next(c)
	}
}

func checkParameters(c echo.Context, op *Operation) error {
	r := c.Request()
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return fault.New(fault.Invalid, "query", "is not as URLs have it")
	}
	for name, values := range query {
		switch {
		case !slices.Contains(op.query, name):
			return fault.New(fault.Invalid, shorten(name), "is no parameter of this operation")
		case len(values) > 1:
			return fault.New(fault.Invalid, name, "occurs twice")
		case !utf8.ValidString(values[0]):
			return fault.New(fault.Invalid, name, "is not UTF-8")
		}
	}
	input := &openapi3filter.RequestValidationInput{Request: r, QueryParams: query, PathParams: map[string]string{}}
	for i, name := range c.ParamNames() {
		input.PathParams[name] = c.ParamValues()[i]
	}
	for _, p := range op.parameters {
		if p.Value.In == openapi3.ParameterInHeader && len(r.Header.Values(p.Value.Name)) > 1 {
			return fault.New(fault.Invalid, p.Value.Name, "occurs twice")
		}
		if err := openapi3filter.ValidateParameter(r.Context(), input, p.Value); err != nil {
			return parameterFault(p.Value, err)
		}
	}
	return nil
}

// parameterFault tells a wrong parameter. An object whose id cannot be is one that is not there, and all that anyone learns.
func parameterFault(p *openapi3.Parameter, err error) error {
	if p.In == openapi3.ParameterInPath {
		return fault.Wrap(err, fault.NotFound, p.Name, "there is none of this id")
	}
	if schema, ok := errors.AsType[*openapi3.SchemaError](err); ok {
		return fault.Wrap(err, fault.Invalid, p.Name, "%s", schema.Reason)
	}
	if errors.Is(err, openapi3filter.ErrInvalidRequired) {
		return fault.Wrap(err, fault.Invalid, p.Name, "is missing")
	}
	return fault.Wrap(err, fault.Invalid, p.Name, "is not as the specification has it")
}

// checkBody refuses bodies of other types than the operation takes, and reads and checks those in JSON. Others are streams, which the
// services behind check.
func (g *gateway) checkBody(c echo.Context, op *Operation) error {
	r := c.Request()
	if encoding := r.Header.Get(echo.HeaderContentEncoding); encoding != "" && encoding != "identity" {
		return fault.New(mediaType, echo.HeaderContentEncoding, "is not taken: send the body as it is")
	}
	if op.bodies == nil {
		if r.ContentLength != 0 {
			return fault.New(fault.Invalid, "body", "is not expected here")
		}
		return nil
	}
	media, err := op.mediaOf(r)
	if err != nil {
		return err
	}
	if r.ContentLength > op.MaxBytes {
		return &http.MaxBytesError{Limit: op.MaxBytes}
	}
	if media != jsonType {
		return nil
	}
	var body bytes.Buffer
	body.Grow(int(min(max(r.ContentLength, 0), 4<<10)) + bytes.MinRead) // what a client announces is not there yet
	if _, err := body.ReadFrom(r.Body); err != nil {
		return err
	}
	data, err := g.checkJSON(r.Context(), op, op.bodies[media], body.Bytes())
	if err != nil {
		return err
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(data)), int64(len(data))
	return nil
}

// mediaOf is the media type of a body, one that the operation takes.
func (op *Operation) mediaOf(r *http.Request) (string, error) {
	header := r.Header.Get(echo.HeaderContentType)
	if header == jsonType && op.bodies[header] != nil { // as most clients write it
		return header, nil
	}
	media, parameters, err := mime.ParseMediaType(header)
	if err != nil || op.bodies[media] == nil {
		return "", fault.New(mediaType, echo.HeaderContentType, "must be one of: %s", strings.Join(slices.Sorted(maps.Keys(op.bodies)), ", "))
	}
	if media == "multipart/form-data" && parameters["boundary"] == "" {
		return "", fault.New(fault.Invalid, echo.HeaderContentType, "names no boundary")
	}
	if charset := parameters["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return "", fault.New(mediaType, echo.HeaderContentType, "must be UTF-8")
	}
	r.Header.Set(echo.HeaderContentType, mime.FormatMediaType(media, parameters)) // the generated code compares its beginning
	return media, nil
}

// checkJSON returns data with the defaults of the schema. Few large bodies are taken apart at once, because their trees are ten times
// their size.
func (g *gateway) checkJSON(ctx context.Context, op *Operation, schema *openapi3.Schema, data []byte) ([]byte, error) {
	if len(data) > defaultMaxBytes {
		select {
		case g.large <- struct{}{}:
			defer func() { <-g.large }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	var tree any
	// Names that occur twice, halves of surrogate pairs, what is not UTF-8, a second value and deep nesting are errors to this decoder.
	if err := json.Unmarshal(data, &tree); err != nil {
		return nil, notJSON(err)
	}
	filled := op.openAI && withoutNulls(tree)
	if place, found := findNull(tree); found {
		return nil, fault.New(fault.Invalid, orBody(place), "is null, which nothing here can be")
	}
	if err := schema.VisitJSON(tree, openapi3.VisitAsRequest(), openapi3.EnableFormatValidation(), openapi3.DefaultsSet(func() { filled = true })); err != nil {
		return nil, bodyFault(op, err)
	}
	if !filled {
		return data, nil
	}
	data, err := json.Marshal(tree)
	if err != nil {
		return nil, fmt.Errorf("defaults: %w", err)
	}
	return data, nil
}

// findNull returns the place of a null. No field of a request may be null, and the defaults of the schema would take its place.
func findNull(tree any) (place string, found bool) {
	within := func(name string, value any) bool {
		if place, found = findNull(value); found {
			place = strings.TrimSuffix(name+"/"+place, "/")
		}
		return found
	}
	switch t := tree.(type) {
	case nil:
		return "", true
	case map[string]any:
		for name, value := range t {
			if within(name, value) {
				return place, true
			}
		}
	case []any:
		for i, value := range t {
			if within(strconv.Itoa(i), value) {
				return place, true
			}
		}
	}
	return "", false
}

// bodyFault tells where a body is not as the specification has it.
func bodyFault(op *Operation, err error) error {
	schema, ok := errors.AsType[*openapi3.SchemaError](err)
	if !ok {
		return fault.Wrap(err, fault.Invalid, "body", "is not as the specification has it")
	}
	place, reason := schema.JSONPointer(), schema.Reason
	if name, ok := strings.CutSuffix(reason, " is unsupported"); ok { // `property "x"`, at the place of its object
		if name, err := strconv.Unquote(strings.TrimPrefix(name, "property ")); err == nil {
			place, reason = append(place, name), "is unknown"
			if op.openAI {
				reason = "is not supported here"
			}
		}
	}
	if schema.SchemaField == "oneOf" {
		reason = "is not what is expected: " + schema.Schema.Description
	}
	return fault.Wrap(errors.New(schema.Reason), fault.Invalid, orBody(strings.Join(place, "/")), "%s", shorten(reason))
}

// shorten bounds what an answer repeats of a request.
func shorten(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// orBody is a field's name as an answer has it; the whole body has none of its own.
func orBody(field string) string {
	if field == "" {
		return "body"
	}
	return shorten(field)
}

// notJSON tells where a body is not JSON.
func notJSON(err error) error {
	syntax, ok := errors.AsType[*jsontext.SyntacticError](err)
	if !ok {
		return fault.Wrap(err, fault.Invalid, "body", "is not JSON")
	}
	field := orBody(strings.TrimPrefix(string(syntax.JSONPointer), "/"))
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return fault.Wrap(err, fault.Invalid, field, "occurs twice")
	}
	return fault.Wrap(err, fault.Invalid, field, "is not JSON at byte %d", syntax.ByteOffset)
}
