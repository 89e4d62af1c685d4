package duty

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// File keeps what was decided last. The zero File keeps nothing.
type File struct{ Path string }

// Read gives what was kept; nothing if there is no file.
func (f File) Read() (addrs []netip.Addr, err error) {
	if f.Path == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(f.Path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &addrs); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Path, err)
	}
	return addrs, nil
}

// Write replaces what is kept, whole or not at all.
func (f File) Write(addrs []netip.Addr) error {
	if f.Path == "" {
		return nil
	}
	raw, err := json.Marshal(addrs)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
		return err
	}
	next := f.Path + ".new"
	if err := os.WriteFile(next, raw, 0o644); err != nil {
		return err
	}
	return os.Rename(next, f.Path)
}
