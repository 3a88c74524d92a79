package web_test

import "testing"

// TestPlayground is one test because starting the server and the browser takes longer than most of what follows.
func TestPlayground(t *testing.T) {
	s := startPlatform(t)
	p := openTab(t, s.address)
	t.Run("look", func(t *testing.T) {
		p.t = t
		p.load("/")
		p.shot("task-empty")
		p.act("click", "several")
		p.act("see", "berries")
		p.shot("task")
		p.act("go", "/modules")
		p.act("click", "Suggest for my task")
		p.act("see", "chosen.")
		p.act("fill", "Weight of plural", "0.8")
		p.js(`new Promise((r) => setTimeout(r, 3000))`)
		p.shot("modules")
	})
}
