package limit

import "testing"

func TestEachHasItsOwn(t *testing.T) {
	e := NewEach[string](0.001, 3)
	for range 3 {
		if !e.Allow("a") {
			t.Fatal("less than a burst is refused")
		}
	}
	if e.Allow("a") {
		t.Error("more than a burst is allowed")
	}
	if !e.Allow("b") {
		t.Error("one who has not asked is refused")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	e := NewEach[int](1, 1)
	for n := range 3 * remembered {
		e.Allow(n)
		if len(e.by) > remembered {
			t.Fatalf("%d are remembered", len(e.by))
		}
	}
}
