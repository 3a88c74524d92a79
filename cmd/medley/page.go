package main

import "net/http"

// page is the playground, nil until there is one.
func page() http.Handler { return nil }
