package main

import (
	"net/http"

	"github.com/medley-lora/medley/web"
)

// page is the playground. A program that was built without it serves a page that says how to build it.
func page() http.Handler { return web.Handler() }
