package credential

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"
)

// Options are what a [Source] is made of. Ask must be given; the other zero values have the defaults that are named.
type Options struct {
	// Ask gets a certificate for a request in PEM from the authority: the workload's own, what is between it and the roots, and the roots last, each in
	// PEM. life is for how long it is wanted; 0 leaves it to the authority.
	Ask func(ctx context.Context, request string, life time.Duration) ([]string, error)
	// Life is that time.
	Life time.Duration

	// Namespace and ServiceAccount are those of the Pod: a certificate for others is not taken. "" is not known.
	Namespace, ServiceAccount string

	RootFile string // where the roots are published to this Pod; "": only those that come with certificates are trusted
	File     string // where the credential is kept; "": nowhere

	Log *slog.Logger // nil logs nothing
}

// When things are done.
const (
	askWithin  = 10 * time.Second
	minBackOff = 500 * time.Millisecond
	maxBackOff = 30 * time.Second
	rootsEvery = 5 * time.Second // a file of a projected volume is looked at
)

// Source has a workload's credential. Its methods are safe for concurrent use.
type Source struct {
	o   Options
	log *slog.Logger

	mu       sync.Mutex
	current  *Credential
	changed  chan struct{}
	roots    []byte // of RootFile, as last read
	renewals uint64
	failures uint64
	failed   string // why the last try failed
}

// New makes a source that has nothing until Run.
func New(o Options) *Source {
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	return &Source{o: o, log: o.Log, changed: make(chan struct{})}
}

// Current gives the credential, nil if there is none yet, and a channel that is closed when it is another.
func (s *Source) Current() (*Credential, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current, s.changed
}

// Follow calls f with the credential, once there is one, and with each that comes after it, until ctx ends.
func (s *Source) Follow(ctx context.Context, f func(*Credential)) {
	var last *Credential
	for {
		c, changed := s.Current()
		if c != nil && c != last {
			f(c)
			last = c
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// Status is how a source gets on.
type Status struct {
	Identity           string // "" if there is no certificate
	Until              time.Time
	Renewals, Failures uint64
	Error              string // of the last try, if that failed
}

// Status tells.
func (s *Source) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Status{Renewals: s.renewals, Failures: s.failures, Error: s.failed}
	if s.current != nil {
		out.Identity, out.Until = s.current.Identity(), s.current.Leaf.NotAfter
	}
	return out
}

// set puts a credential in force, with the roots that are published beside its own.
func (s *Source) set(c *Credential) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = c.trusting(s.roots)
	close(s.changed)
	s.changed = make(chan struct{})
}

// Run keeps the credential good until ctx ends: it takes up what is in the file, and asks for another when half of a certificate's time is over, give or
// take a tenth so that Pods that began together do not ask together. What fails is tried again, until it has expired and then as well. When the roots that
// are published change they are trusted at once, and a new certificate is asked for.
func (s *Source) Run(ctx context.Context) {
	s.readRoots()
	s.restore()
	delay := minBackOff
	for {
		wait := time.Duration(0)
		if c, _ := s.Current(); c != nil {
			wait = max(minBackOff, time.Until(c.Since.Add(c.life()*time.Duration(45+rand.N(10))/100)))
		}
		if !s.sleep(ctx, wait, true) {
			return
		}
		for {
			err := s.renew(ctx)
			if err == nil {
				delay = minBackOff
				break
			}
			if ctx.Err() != nil {
				return
			}
			pause := delay/2 + rand.N(delay/2+1)
			s.log.Warn("no certificate from the mesh's authority; what there is stays in use", "error", err, "again", pause)
			if !s.sleep(ctx, pause, false) {
				return
			}
			delay = min(2*delay, s.longest())
		}
	}
}

// longest is how long is waited between two tries at most: not longer than a part of what a certificate is good for.
func (s *Source) longest() time.Duration {
	if c, _ := s.Current(); c != nil {
		return max(minBackOff, min(maxBackOff, c.life()/10))
	}
	return maxBackOff / 4
}

// sleep waits, and looks at the roots meanwhile. It ends early if they have changed and wakes is true; false is that ctx has ended.
func (s *Source) sleep(ctx context.Context, d time.Duration, wakes bool) bool {
	end := time.Now().Add(d)
	for {
		left := time.Until(end)
		if left <= 0 {
			return ctx.Err() == nil
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(min(left, rootsEvery)):
		}
		if s.readRoots() && wakes {
			return true
		}
	}
}

// readRoots looks at the file of the roots, and puts what is new in force.
func (s *Source) readRoots() bool {
	if s.o.RootFile == "" {
		return false
	}
	text, err := os.ReadFile(s.o.RootFile)
	s.mu.Lock()
	same := err != nil || bytes.Equal(text, s.roots) // one that is away for a moment says nothing
	if !same {
		s.roots = text
	}
	c := s.current
	s.mu.Unlock()
	if same {
		return false
	}
	if c != nil {
		s.log.Info("the roots of the mesh have changed")
		s.set(c)
	}
	return true
}

// renew asks for a certificate once.
func (s *Source) renew(ctx context.Context) error {
	c, err := s.ask(ctx)
	s.mu.Lock()
	s.failed = ""
	if err != nil {
		s.failures++
		s.failed = err.Error()
		s.mu.Unlock()
		return err
	}
	s.renewals++
	s.mu.Unlock()
	s.set(c)
	s.log.Info("a certificate was got", "identity", c.Identity(), "until", c.Leaf.NotAfter)
	if err := s.keep(c); err != nil {
		s.log.Error("the certificate could not be kept for a container that starts again", "error", err)
	}
	return nil
}

func (s *Source) ask(ctx context.Context) (*Credential, error) {
	key, request, err := newKey()
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	try, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	chain, err := s.o.Ask(try, request, s.o.Life)
	if err != nil {
		return nil, err
	}
	if len(chain) < 2 {
		return nil, errors.New("the authority gave no chain of certificates")
	}
	now := time.Now()
	last := len(chain) - 1
	return made(key, []byte(strings.Join(chain[:last], "")), []byte(chain[last]), now, now, s.o.Namespace, s.o.ServiceAccount)
}
