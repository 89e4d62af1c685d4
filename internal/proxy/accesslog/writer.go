package accesslog

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of a writer.
const (
	// maxBuffered is how many bytes wait to be written; what comes on top is dropped.
	maxBuffered = 2 << 20
	// flushAt is how many bytes are worth a write at once. A write wakes the runtime's monitor thread, so it is to be seldom.
	flushAt = 256 << 10
	// flushEvery is how long a line waits for others.
	flushEvery = 200 * time.Millisecond
)

// Writer gathers lines and writes them to a file.
type Writer struct {
	out     io.Writer
	dropped atomic.Uint64

	mu    sync.Mutex
	lines []byte
	full  chan struct{} // told when there is enough for a write
}

// NewWriter makes a writer. Nothing is written before Run.
func NewWriter(out io.Writer) *Writer { return &Writer{out: out, full: make(chan struct{}, 1)} }

// Dropped is how many lines found no room.
func (w *Writer) Dropped() uint64 { return w.dropped.Load() }

func (w *Writer) line(b []byte) {
	w.mu.Lock()
	if len(w.lines)+len(b) > maxBuffered {
		w.mu.Unlock()
		w.dropped.Add(1)
		return
	}
	w.lines = append(w.lines, b...)
	enough := len(w.lines) >= flushAt
	w.mu.Unlock()
	if enough {
		select {
		case w.full <- struct{}{}:
		default:
		}
	}
}

// Run writes until the context ends, and then what is left.
func (w *Writer) Run(ctx context.Context) {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	var spare []byte
	for {
		done := false
		select {
		case <-ctx.Done():
			done = true
		case <-tick.C:
		case <-w.full:
		}
		w.mu.Lock()
		lines := w.lines
		w.lines = spare[:0]
		w.mu.Unlock()
		if len(lines) > 0 {
			_, _ = w.out.Write(lines) // a log that cannot be written is no reason to stop
		}
		spare = lines
		if done {
			return
		}
	}
}

// Files is the writers of a proxy, one for each path. The zero value is not ready; use NewFiles.
type Files struct {
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	byPath map[string]*Writer
	opened []io.Closer
	stdout io.Writer
	stderr io.Writer
}

// NewFiles makes a set without files. /dev/stdout and /dev/stderr go to the given writers. Close must be called.
func NewFiles(stdout, stderr io.Writer) *Files {
	ctx, stop := context.WithCancel(context.Background())
	return &Files{ctx: ctx, stop: stop, byPath: map[string]*Writer{}, stdout: stdout, stderr: stderr}
}

// Open gives the writer of a path, and opens it for appending if it is new. The writer stays until Close.
func (f *Files) Open(path string) (*Writer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w := f.byPath[path]; w != nil {
		return w, nil
	}
	var out io.Writer
	switch path {
	case "":
		return nil, errors.New("is empty")
	case "/dev/stdout", "/proc/self/fd/1":
		out = f.stdout
	case "/dev/stderr", "/proc/self/fd/2":
		out = f.stderr
	default:
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		out = file
		f.opened = append(f.opened, file)
	}
	w := NewWriter(out)
	f.byPath[path] = w
	f.running.Go(func() { w.Run(f.ctx) })
	return w, nil
}

// Dropped is how many lines found no room in all files.
func (f *Files) Dropped() (n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.byPath {
		n += w.Dropped()
	}
	return n
}

// Close writes what is left and closes the files.
func (f *Files) Close() {
	f.stop()
	f.running.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.opened {
		_ = c.Close()
	}
}
