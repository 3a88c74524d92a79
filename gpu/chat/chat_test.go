package chat

import (
	"strings"
	"sync"
	"testing"

	"github.com/medley-lora/medley/shared/fault"
)

// templates do what those of published models do: turns in a loop, white space control, trimming, namespaces, slices, tests, exceptions.
var templates = []struct{ name, text, want string }{
	{"turns", "{% for m in messages %}{{ '[' + m['role'] + ']' + m['content'] + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '[model]' }}{% endif %}", "[user]MESSAGE\n[model]"},
	{"begins", "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{{ eos_token }}{% endfor %}", "<s><user>TRIMMED</s>"},
	{"system by default", "{% for m in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ 'Be kind.\n' }}{% endif %}{{ m['role'] + ': ' + m['content'].strip() }}{% endfor %}",
		"Be kind.\nuser: TRIMMED"},
	{"white space control", "{%- if tools %}\n  {{- tools | tojson }}\n{%- else %}\n  {{- 'none;' }}\n{%- endif %}\n{%- for message in messages %}\n    {%- if message.role == \"user\" %}\n        {{- message.content + '|' }}\n    {%- endif %}\n{%- endfor %}\n",
		"none;MESSAGE|"},
	{"blocks on lines", "{% set shown = true %}\n{% for m in messages %}\n  {% if shown %}\n{{ m.content }};\n  {% endif %}\n{% endfor %}\n", "MESSAGE;\n"},
	{"namespace", "{%- set ns = namespace(last=0) %}{%- for m in messages[::-1] %}{%- set ns.last = loop.index0 %}{%- endfor %}{{ messages[0].content }} {{ ns.last }} {{ messages | length }}", "MESSAGE 0 1"},
	{"exceptions", "{% if messages[0].role != 'user' %}{{ raise_exception('no') }}{% endif %}{{ messages[0]['content'] }}{% if day is defined %}{{ day }}{% endif %}", "MESSAGE"},
}

func TestFrames(t *testing.T) {
	for _, c := range templates {
		f, err := NewFrame(Template{c.text, "<s>", "</s>"})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for _, message := range []string{"", "hi", " a\n b ", "<x> & 'y' \"z\" ü {{ 1 }}"} {
			want := strings.NewReplacer("MESSAGE", message, "TRIMMED", strings.TrimSpace(message)).Replace(c.want)
			if got := f.Around(message); got != want {
				t.Errorf("%s: %q, want %q", c.name, got, want)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name, text string
		code       fault.Code
		want       string
	}{
		{"not a template", "{% for m in %}", fault.Invalid, "template"},
		{"no end", "{% if true %}x", fault.Invalid, "template"},
		{"nothing of the message", "hello", fault.Unsupported, "leaves"},
		{"shouts", "{{ messages[0].content | upper }}", fault.Unsupported, "leaves"},
		{"escapes", "{{ messages[0].content | escape }}", fault.Unsupported, "changes"},
		{"cuts", "{{ messages[0].content[:20] }}", fault.Unsupported, "changes"},
		{"raises", "{{ raise_exception('only tools') }}", fault.Invalid, "only tools"},
		{"reads a file", "{% include '/etc/hostname' %}{{ messages[0].content }}", fault.Invalid, ""},
		{"imports", "{% import '/etc/hostname' as x %}{{ messages[0].content }}", fault.Invalid, ""},
		{"too long", strings.Repeat("x", maxTemplate+1), fault.TooLarge, "limit"},
	} {
		if _, err := NewFrame(Template{Text: c.text}); fault.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %q (%v), want %q with %q", c.name, fault.CodeOf(err), err, c.code, c.want)
		}
	}
}

// TestConversations: many at once, each with all its turns.
func TestConversations(t *testing.T) {
	template := Template{Text: "{{ bos_token }}{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('No tools: ' + m.content) }}{% endif %}" +
		"<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}", BOS: "<s>", EOS: "</s>"}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			text := strings.Repeat("a", i)
			got, err := template.Render([]Message{{"system", "{{ 1 }}"}, {"user", text}, {"assistant", "b"}, {"user", "<&>"}})
			if want := "<s><system>{{ 1 }}</s><user>" + text + "</s><assistant>b</s><user><&></s><assistant>"; err != nil || got != want {
				t.Errorf("%q, %v, want %q", got, err, want)
			}
		})
	}
	all.Wait()
	for name, c := range map[string]struct {
		template Template
		role     string
		want     string
	}{
		"the template's words": {template, "tool", "messages: are refused by the base's chat template: No tools: x"},
		"no template":          {Template{Text: "{% broken"}, "user", "chat_template: "},
		"a panic":              {Template{Text: "{{ messages[7].content.x.y }}"}, "user", "chat_template: "},
		"too long":             {Template{Text: strings.Repeat("x", maxTemplate+1)}, "user", "chat_template: "},
	} {
		if _, err := c.template.Render([]Message{{c.role, "x"}}); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// FuzzConversation: whatever is said, it comes out as it is or not at all, and soon.
func FuzzConversation(f *testing.F) {
	f.Add("user", "{{ raise_exception('x') }}")
	f.Add("system", "{% for x in y %}\x00\xff")
	template := Template{Text: "{% for m in messages %}{{ '[' + m.role + ']' + m.content }}{% endfor %}"}
	f.Fuzz(func(t *testing.T, role, content string) {
		got, err := template.Render([]Message{{role, content}})
		if want := "[" + role + "]" + content; err != nil || got != want {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	})
}
