package reaper

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestChildrenAreWaitedFor(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r := New()
	ended := make(chan struct{})
	go func() { r.Run(ctx); close(ended) }()
	defer func() { cancel(); <-ended }()

	for script, want := range map[string]string{
		"exit 0":       "<nil>",
		"exit 3":       "exit code 3",
		"kill -9 $$":   "ended by signal killed",
		"sleep 0.05 &": "<nil>", // its child becomes somebody else's
	} {
		p, err := r.Start("/bin/sh", []string{"sh", "-c", script}, &os.ProcAttr{})
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(p.Wait(ctx)); got != want {
			t.Errorf("%q: %s, want %s", script, got, want)
		}
		if err := p.Signal(syscall.SIGKILL); err != nil {
			t.Errorf("signal after the end: %v", err)
		}
	}
}

func TestSignal(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r := New()
	ended := make(chan struct{})
	go func() { r.Run(ctx); close(ended) }()
	defer func() { cancel(); <-ended }()
	p, err := r.Start("/bin/sleep", []string{"sleep", "1000"}, &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(p.Wait(ctx)); got != "ended by signal terminated" {
		t.Error(got)
	}
}

func TestStartOfNothingFails(t *testing.T) {
	if _, err := New().Start("/nonexistent", []string{"x"}, &os.ProcAttr{}); err == nil {
		t.Error("started")
	}
}
