package auth

import (
	"fmt"
	"net"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/medley-lora/medley/shared/fault"
)

// Public is asked of Require and Admit for what needs no token. It is no scope: no token has it.
const Public Scope = "public"

// Require is middleware that lets in who has scope. See Admit.
func (a *Authority) Require(scope Scope) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if err := a.Admit(c, scope); err != nil {
				return err
			}
			return next(c)
		}
	}
}

// Admit reads the access token of a request from its Authorization header, and from nowhere else (RFC 6750, section 2.1), and puts the
// Principal and the client's address into the request's context. The address is the connection's, unless Echo has an IPExtractor.
//
// Errors, with the WWW-Authenticate header of RFC 6750, section 3, already set: Unauthenticated for no token or none that is good,
// fault.Invalid for more than one Authorization header, and Forbidden for a token without scope. Without the header: Unavailable and
// fault.Canceled as from Verify, and fault.Internal for a scope that there is not, which lets nobody in.
func (a *Authority) Admit(c echo.Context, scope Scope) error {
	request := c.Request()
	ctx := WithAddress(request.Context(), address(c))
	if scope == Public {
		c.SetRequest(request.WithContext(ctx))
		return nil
	}
	if !known(scope) {
		return fault.New(fault.Internal, "", "the route asks for a scope that there is not")
	}
	token, err := bearer(request.Header.Values(echo.HeaderAuthorization))
	if err != nil {
		if fault.CodeOf(err) == Unauthenticated {
			challenge(c, "", err, "") // a client that does not know that it needs a token is told so, and no more
			return err
		}
		challenge(c, "invalid_request", err, "")
		a.audit(ctx, "", LoginFailed, fmt.Sprintf("%s at %s", err, c.Path()))
		return err
	}
	p, err := a.Verify(ctx, token)
	if err != nil {
		if fault.CodeOf(err) == Unauthenticated {
			challenge(c, "invalid_token", err, "")
			a.audit(ctx, "", LoginFailed, fmt.Sprintf("%s at %s", err, c.Path()))
		}
		return err
	}
	if !p.Allows(scope) {
		err := fault.New(Forbidden, "", "the token does not allow %s", scope)
		challenge(c, "insufficient_scope", err, scope)
		a.audit(ctx, p.ID, ScopeDenied, fmt.Sprintf("%s at %s", scope, c.Path()))
		return err
	}
	c.SetRequest(request.WithContext(WithPrincipal(ctx, p)))
	return nil
}

// bearer returns the token of Authorization headers. Schemes are compared without case (RFC 9110, section 11.1).
func bearer(headers []string) (string, error) {
	if len(headers) > 1 {
		return "", fault.New(fault.Invalid, echo.HeaderAuthorization, "must be sent once")
	}
	if len(headers) == 1 {
		if scheme, token, _ := strings.Cut(headers[0], " "); strings.EqualFold(scheme, "Bearer") {
			return strings.Trim(token, " "), nil
		}
	}
	return "", fault.New(Unauthenticated, "", "an access token is needed: Authorization: Bearer TOKEN")
}

// challenge says how to get in. The sentences of refusals have no characters that would have to be escaped.
func challenge(c echo.Context, kind string, err error, scope Scope) {
	value := `Bearer realm="medley"`
	if kind != "" {
		value += fmt.Sprintf(`, error="%s", error_description="%s"`, kind, err)
	}
	if scope != "" {
		value += fmt.Sprintf(`, scope="%s"`, scope)
	}
	c.Response().Header().Set(echo.HeaderWWWAuthenticate, value)
}

// address is the client's. Headers that name one are believed only if the gateway was told whom to believe.
func address(c echo.Context) string {
	if c.Echo().IPExtractor != nil {
		return c.RealIP()
	}
	host, _, err := net.SplitHostPort(c.Request().RemoteAddr)
	if err != nil {
		return c.Request().RemoteAddr // a unix socket has no port
	}
	return host
}
