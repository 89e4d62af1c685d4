// Package borrowed changes the few settings of the whole machine without which
// labs cannot be, and puts them back after the last lab. What they were is kept
// in a file from before the change, so that whoever comes next can put them
// back if a lab was killed. A setting that somebody else changed meanwhile is
// left as it is. Callers hold a lock that all labs share.
package borrowed

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Setting is a file of the kernel's with a value.
type Setting struct {
	// File is where the setting is.
	File string
	// Change returns what to write, and what to write to undo that; "" if the
	// value is good as it is.
	Change func(value string) (write, undo string)
}

// AtLeast is a setting that is a number, and wanted to be no less.
func AtLeast(file string, least int) Setting {
	return Setting{File: file, Change: func(value string) (string, string) {
		if n, err := strconv.Atoi(value); err == nil && n < least {
			return strconv.Itoa(least), value
		}
		return "", ""
	}}
}

// Inotify is how many files programs may watch. Every kubelet, containerd and
// API server has several watchers, and kernels allow a user 128.
func Inotify() []Setting {
	return []Setting{
		AtLeast("/proc/sys/fs/inotify/max_user_instances", 4096),
		AtLeast("/proc/sys/fs/inotify/max_user_watches", 262144),
	}
}

// loan is a setting that was changed.
type loan struct {
	File string `json:"file"`
	// Left is what the file said after the change, and Undo what undoes it.
	Left string `json:"left"`
	Undo string `json:"undo"`
}

// Take changes settings that need it, and notes them in a file.
func Take(note string, settings []Setting) error {
	loans, err := read(note)
	if err != nil {
		return err
	}
	for _, s := range settings {
		value, err := os.ReadFile(s.File)
		if errors.Is(err, fs.ErrNotExist) {
			continue // not in this kernel
		}
		if err != nil {
			return err
		}
		change, undo := s.Change(strings.TrimSpace(string(value)))
		if change == "" || slices.ContainsFunc(loans, func(l loan) bool { return l.File == s.File && l.Undo == undo }) {
			continue
		}
		// First the note, then the change: a kill in between undoes nothing.
		loans = append(loans, loan{File: s.File, Undo: undo})
		if err := write(note, loans); err != nil {
			return err
		}
		if err := os.WriteFile(s.File, []byte(change), 0); err != nil {
			return fmt.Errorf("set %s to %s: %w", s.File, change, err)
		}
		left, err := os.ReadFile(s.File)
		if err != nil {
			return err
		}
		loans[len(loans)-1].Left = string(left)
		if err := write(note, loans); err != nil {
			return err
		}
	}
	return nil
}

// Return undoes what a note tells of, last first, and removes the note.
func Return(note string) error {
	loans, err := read(note)
	if err != nil || loans == nil {
		return err
	}
	for _, l := range slices.Backward(loans) {
		value, err := os.ReadFile(l.File)
		if err != nil || (l.Left != "" && string(value) != l.Left) {
			continue
		}
		if err := os.WriteFile(l.File, []byte(l.Undo), 0); err != nil {
			return fmt.Errorf("put %s back to %s: %w", l.File, l.Undo, err)
		}
	}
	return os.Remove(note)
}

func read(note string) ([]loan, error) {
	content, err := os.ReadFile(note)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	loans := []loan{}
	if err := json.Unmarshal(content, &loans); err != nil {
		return nil, fmt.Errorf("%s: %w", note, err)
	}
	return loans, nil
}

func write(note string, loans []loan) error {
	content, err := json.MarshalIndent(loans, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(note), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(note+".partial", append(content, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(note+".partial", note)
}
