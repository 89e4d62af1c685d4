package borrowed

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWhatWasTakenIsPutBack(t *testing.T) {
	dir := t.TempDir()
	low, high, note := filepath.Join(dir, "low"), filepath.Join(dir, "high"), filepath.Join(dir, "state", "note")
	set := func(file, value string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(file, want string) {
		t.Helper()
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%s is %q, want %q: %v", filepath.Base(file), got, want, err)
		}
	}
	settings := []Setting{AtLeast(low, 100), AtLeast(high, 100), AtLeast(filepath.Join(dir, "none"), 100)}
	set(low, "10\n")
	set(high, "1000\n")
	for range 2 { // a second lab finds everything taken
		if err := Take(note, settings); err != nil {
			t.Fatal(err)
		}
		expect(low, "100")
		expect(high, "1000\n")
	}
	if err := Return(note); err != nil {
		t.Fatal(err)
	}
	expect(low, "10")
	if _, err := os.Stat(note); !os.IsNotExist(err) {
		t.Errorf("the note stays: %v", err)
	}
	if err := Return(note); err != nil {
		t.Errorf("nothing to return: %v", err)
	}
}

func TestWhatOthersChangedStays(t *testing.T) {
	dir := t.TempDir()
	file, note := filepath.Join(dir, "file"), filepath.Join(dir, "note")
	if err := os.WriteFile(file, []byte("10"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Take(note, []Setting{AtLeast(file, 100)}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("500"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Return(note); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(file); string(got) != "500" {
		t.Errorf("%s", got)
	}
}
