package message

import (
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFields(t *testing.T) {
	var f Fields
	f.Add("host", "a")
	f.Add("x", "1")
	f.Add("y", "2")
	f.Add("x", "3")
	if v, ok := f.Get("x"); v != "1" || !ok {
		t.Errorf("Get(x) = %q, %v", v, ok)
	}
	f.Set("x", "4")
	f.Set("z", "5")
	f.Del("host")
	f.DelFunc(func(f Field) bool { return f.Value == "2" })
	if d := cmp.Diff([]Field{{"x", "4"}, {"z", "5"}}, f.All()); d != "" {
		t.Error(d)
	}
	f.Reset()
	if _, ok := f.Get("x"); ok || f.Len() != 0 {
		t.Error("Reset left fields")
	}
}

// Copies stay what they are while more are made, and cost nothing once there is room.
func TestCopy(t *testing.T) {
	var f Fields
	var buf [20]byte
	fill := func() {
		f.Reset()
		for i := range 100 {
			f.Add("n", f.Copy(strconv.AppendInt(buf[:0], int64(i), 10)))
		}
	}
	fill()
	for i, field := range f.All() {
		if field.Value != strconv.Itoa(i) {
			t.Fatalf("field %d is %q", i, field.Value)
		}
	}
	if n := testing.AllocsPerRun(10, fill); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Values written in place stay what they are, whether they fit or not, and cost nothing once there is room.
func TestScratch(t *testing.T) {
	var f Fields
	long := make([]byte, 300)
	fill := func() {
		f.Reset()
		for i := range 100 {
			f.Add("n", f.Keep(strconv.AppendInt(f.Scratch(), int64(i), 10)))
		}
	}
	fill()
	f.Add("long", f.Keep(append(f.Scratch(), long...)))
	f.Add("empty", f.Keep(f.Scratch()))
	f.Add("after", f.Copy([]byte("x")))
	for i, field := range f.All()[:100] {
		if field.Value != strconv.Itoa(i) {
			t.Fatalf("field %d is %q", i, field.Value)
		}
	}
	if v, _ := f.Get("long"); v != string(long) {
		t.Errorf("%q", v)
	}
	if v, _ := f.Get("after"); v != "x" {
		t.Errorf("%q", v)
	}
	if n := testing.AllocsPerRun(10, fill); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
