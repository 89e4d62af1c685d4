package state

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"
)

func open(t *testing.T) Dir {
	t.Helper()
	t.Setenv("WEFT_LAB_STATE", t.TempDir()+"/labs")
	d, err := Open("one")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestLockIsHeldOnce(t *testing.T) {
	d := open(t)
	l, err := d.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.SetHolder(4711); err != nil {
		t.Fatal(err)
	}
	if pid, err := d.Holder(); err != nil || pid != 4711 {
		t.Errorf("holder %d: %v", pid, err)
	}
	if _, err := d.Lock(); !errors.Is(err, ErrLocked) {
		t.Errorf("locked again: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := d.WaitLock(ctx); !errors.Is(err, ErrLocked) {
		t.Errorf("waited for the lock: %v", err)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	if again, err := d.Lock(); err != nil {
		t.Error(err)
	} else if err := again.Release(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(d.root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left %s: %v", d.root, err)
	}
}

func TestNames(t *testing.T) {
	d := open(t)
	if names, err := Names(); err != nil || names != nil {
		t.Errorf("%v: %v", names, err)
	}
	if err := d.Create(); err != nil {
		t.Fatal(err)
	}
	if names, err := Names(); err != nil || len(names) != 1 || names[0] != "one" {
		t.Errorf("%v: %v", names, err)
	}
	if err := d.Remove(); err != nil || d.Exists() {
		t.Errorf("removed: %v", err)
	}
	for _, bad := range []string{"", "..", "a/b", "A", "-a", "a-", "a_b"} {
		if _, err := Open(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
