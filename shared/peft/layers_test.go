package peft_test

import (
	"path/filepath"
	"reflect"
	"testing"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/peft"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

func TestLoadLayers(t *testing.T) {
	m, err := peft.Open(filepath.Join(zootest.Dir(t), "modules", "plural"), peft.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	whole, err := m.Load()
	if err != nil {
		t.Fatal(err)
	}
	last := whole.Layers[len(whole.Layers)-1]
	some, err := m.LoadLayers([]string{last.Target, whole.Layers[3].Target})
	if err != nil {
		t.Fatal(err)
	}
	if want := []lora.Layer{whole.Layers[3], last}; !reflect.DeepEqual(some.Layers, want) || some.Name != whole.Name || some.Base != whole.Base {
		t.Errorf("%d layers of %q for %q are not the two asked for, sorted", len(some.Layers), some.Name, some.Base)
	}
	if _, err := m.LoadLayers([]string{"decoder.nothing"}); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("a target that there is not: %v", err)
	}
}
