package main

import (
	"net/http"

	"github.com/medley-lora/medley/web"
)

// page is the playground. A program that was built without it says so, and serves a page that tells how to build it.
func page(a *app) http.Handler {
	if !web.Built() {
		a.note("The playground is not in this program. To have it: %s, and build again.", web.Make)
	}
	return web.Handler()
}
