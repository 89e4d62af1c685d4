package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/lab/internal/control"
	"github.com/weftmesh/weft/lab/internal/reaper"
	"github.com/weftmesh/weft/lab/internal/state"
)

// Main is process 1 of a lab. It writes events to its standard output, one in
// JSON a line, and returns if the lab could not be brought up, or could no
// longer be answered for; the lab ends with it. Only killing it ends it else.
func Main(ctx context.Context, dir state.Dir) error {
	if os.Getpid() != 1 {
		return errors.New("this is started by a lab's supervisor, as process 1")
	}
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	events := eventWriter(os.Stdout)
	err := run(ctx, dir, events)
	if err != nil {
		events(control.Event{Error: err.Error()})
	}
	return err
}

func run(ctx context.Context, dir state.Dir, events func(control.Event)) error {
	config, err := ReadConfig(dir.Config())
	if err != nil {
		return err
	}
	if err := detachFromHost(); err != nil {
		return fmt.Errorf("the lab's mounts: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	children := reaper.New()
	c, err := New(config, dir, children, events)
	if err != nil {
		return err
	}
	if err := c.groups.Join(config.Name); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go children.Run(ctx)
	served := make(chan error, 1)
	go func() { served <- c.Serve(ctx) }()
	if err := c.Up(ctx); err != nil {
		return err
	}
	events(control.Event{Ready: true})
	return <-served
}

// detachFromHost keeps what is mounted here from showing on the host, and what
// the host unmounts from staying in use here: named namespaces at once, other
// mounts when the host does it.
func detachFromHost() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) > 4 && strings.Contains(line, " - nsfs ") {
			// Gone already, or hidden: neither matters.
			_ = unix.Unmount(fields[4], unix.MNT_DETACH)
		}
	}
	return nil
}

// eventWriter writes events; who reads them may be gone.
func eventWriter(w io.Writer) func(control.Event) {
	var mu sync.Mutex
	encoder := json.NewEncoder(w)
	return func(e control.Event) {
		mu.Lock()
		defer mu.Unlock()
		_ = encoder.Encode(e)
	}
}
