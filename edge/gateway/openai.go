package gateway

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/shared/fault"
)

// openAITag marks the operations whose clients are OpenAI's: their errors have another shape, and null is as good as missing.
const openAITag = "openai"

// openAIError is a problem as OpenAI's clients read it. They know no 422, and what is too long for a model is a wrong request to them.
func openAIError(p api.Problem) (status int, body api.OpenAIError) {
	e := api.OpenAIProblem{Message: p.Detail, Type: "invalid_request_error", Code: p.Code}
	switch {
	case p.Status == http.StatusUnauthorized:
		e.Type = "authentication_error"
	case p.Status == http.StatusForbidden:
		e.Type = "permission_error"
	case p.Status == http.StatusTooManyRequests:
		e.Type = "rate_limit_error"
	case p.Status >= http.StatusInternalServerError:
		e.Type = "server_error"
	case p.Status == http.StatusUnprocessableEntity:
		p.Status = http.StatusBadRequest
	case p.Code == string(fault.NotFound) && p.Field == "model":
		e.Code = "model_not_found"
	case p.Code == string(fault.TooLarge) && p.Field != "":
		p.Status, e.Code = http.StatusBadRequest, "context_length_exceeded"
	}
	if p.Field != "" {
		e.Param, e.Message = &p.Field, p.Field+": "+p.Detail
	}
	if e.Message == "" {
		e.Message = p.Title + " (request " + p.RequestID + ")"
	}
	return p.Status, api.OpenAIError{Error: e}
}

// withoutNulls takes fields that are null out of a JSON value, and says whether there were any.
func withoutNulls(tree any) (found bool) {
	switch t := tree.(type) {
	case map[string]any:
		for name, value := range t {
			if value == nil {
				delete(t, name)
				found = true
			} else {
				found = withoutNulls(value) || found
			}
		}
	case []any:
		for _, value := range t {
			found = withoutNulls(value) || found
		}
	}
	return found
}

const modelPath = "/v1/models/"

// modelNames has a name with slashes be one part of the path, as it is when the client escapes them.
func modelNames(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		u := c.Request().URL
		if name, ok := strings.CutPrefix(u.Path, modelPath); ok && strings.Contains(name, "/") {
			u.RawPath = modelPath + url.PathEscape(name)
		}
		return next(c)
	}
}
