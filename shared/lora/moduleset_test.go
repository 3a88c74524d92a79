package lora_test

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
)

func TestModuleSetLoadsOnce(t *testing.T) {
	var calls atomic.Int64
	set, err := lora.NewModuleSet([]string{"b", "a", "c"}, func(name string) (*lora.Adapter, error) {
		calls.Add(1)
		return &lora.Adapter{Name: name}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(set.Names(), []string{"b", "a", "c"}) || set.Loaded() != 0 {
		t.Errorf("names %v, loaded %d", set.Names(), set.Loaded())
	}
	var callers sync.WaitGroup
	for range 20 {
		callers.Go(func() {
			m, err := set.Modules([]string{"a", "b"})
			if err != nil || m[0].Name != "a" || m[1].Name != "b" {
				t.Errorf("modules are %v, %v", m, err)
			}
		})
	}
	callers.Wait()
	if calls.Load() != 2 || set.Loaded() != 2 {
		t.Errorf("load was called %d times, %d are loaded", calls.Load(), set.Loaded())
	}
}

func TestModuleSetRemembersErrors(t *testing.T) {
	calls := 0
	plain := errors.New("plain")
	set, err := lora.NewModuleSet([]string{"coded", "plain"}, func(name string) (*lora.Adapter, error) {
		calls++
		if name == "plain" {
			return nil, plain
		}
		return nil, fault.New(fault.Unsupported, "use_dora", "not supported")
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := set.Module("coded"); fault.CodeOf(err) != fault.Unsupported || err.Error() != "module coded: use_dora: not supported" {
			t.Error(err)
		}
		if _, err := set.Modules([]string{"plain"}); !errors.Is(err, plain) || err.Error() != "module plain: plain" {
			t.Error(err)
		}
	}
	if calls != 2 || set.Loaded() != 0 {
		t.Errorf("load was called %d times, %d are loaded", calls, set.Loaded())
	}
	if _, err := set.Module("other"); fault.CodeOf(err) != fault.NotFound {
		t.Error(err)
	}
}

func TestModuleSetRefusesDoubleNames(t *testing.T) {
	if _, err := lora.NewModuleSet([]string{"a", "a"}, nil); fault.CodeOf(err) != fault.Invalid {
		t.Error(err)
	}
}
