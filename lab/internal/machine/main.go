package machine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/lab/internal/reaper"
)

// controlFD is where process 1 finds its end of the socket pair.
const controlFD = 3

// path is where machines look for programs.
const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Main is process 1 of a machine. It returns when the lab's side is gone, and
// the machine ends with it.
func Main(ctx context.Context) error {
	if os.Getpid() != 1 {
		return errors.New("this is started by a lab, as process 1 of a machine")
	}
	// A terminal's signals are not for machines.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	file := os.NewFile(controlFD, "control")
	conn, err := net.FileConn(file)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	file.Close()
	if err := os.Setenv("PATH", path); err != nil {
		return err
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := &Machine{ctx: ctx, children: reaper.New(), services: map[string]*service{}}
	go m.children.Run(ctx)
	server := rpc.NewServer()
	if err := server.RegisterName(rpcName, m); err != nil {
		return err
	}
	server.ServeConn(conn)
	return nil
}

// Machine is what the lab can ask of a machine, by net/rpc.
type Machine struct {
	ctx      context.Context
	children *reaper.Reaper

	mu       sync.Mutex
	services map[string]*service
}

type service struct {
	spec    Service
	process *reaper.Process
}

// None is for calls that take or give nothing.
type None struct{}

// Boot makes the machine what spec says. It is called once, first.
func (m *Machine) Boot(spec Spec, _ *None) error {
	if err := unix.Sethostname([]byte(spec.Hostname)); err != nil {
		return fmt.Errorf("hostname: %w", err)
	}
	// Mounts first: /proc/sys/net shows the network namespace of who reads it,
	// yet a container's host may have mounted it read-only.
	if err := spec.setUpMounts(); err != nil {
		return err
	}
	return spec.Network.setUp()
}

// Start starts a service and returns when it is ready.
func (m *Machine) Start(spec Service, _ *None) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s, ok := m.services[spec.Name]; ok && s.running() {
		return nil
	}
	if spec.Ready != "" {
		if err := os.Remove(spec.Ready); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	process, err := m.spawn(spec.Argv, spec.Env, spec.Log)
	if err != nil {
		return fmt.Errorf("start %s: %w", spec.Name, err)
	}
	s := &service{spec: spec, process: process}
	m.services[spec.Name] = s
	ctx, cancel := context.WithTimeout(m.ctx, spec.Timeout)
	defer cancel()
	return s.waitReady(ctx)
}

func (s *service) running() bool {
	select {
	case <-s.process.Done():
		return false
	default:
		return true
	}
}

func (s *service) waitReady(ctx context.Context) error {
	for s.spec.Ready != "" && !isReady(ctx, s.spec.Ready) {
		select {
		case <-s.process.Done():
			return fmt.Errorf("%s ended before it was ready: %w; its log ends:\n%s", s.spec.Name, s.process.Wait(ctx), tail(s.spec.Log))
		case <-ctx.Done():
			return fmt.Errorf("%s did not become ready in %s; its log ends:\n%s", s.spec.Name, s.spec.Timeout, tail(s.spec.Log))
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// isReady tells whether a file is there, and if it is a socket, whether
// somebody answers.
func isReady(ctx context.Context, path string) bool {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&os.ModeSocket == 0 {
		return err == nil
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// Stop is a service's name and the signal that tells it to end.
type Stop struct {
	Name   string
	Signal syscall.Signal
}

// stopTimeout is how long a service may take to end. An API server stops
// listening at once, and then waits a minute for watchers to go away.
const stopTimeout = 5 * time.Second

// StopService ends a service and returns when it has ended. One that takes
// longer than stopTimeout is killed.
func (m *Machine) StopService(stop Stop, _ *None) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.services[stop.Name]
	if !ok {
		return fmt.Errorf("no service %q", stop.Name)
	}
	if err := s.process.Signal(stop.Signal); err != nil {
		return fmt.Errorf("stop %s: %w", stop.Name, err)
	}
	select {
	case <-s.process.Done():
	case <-time.After(stopTimeout):
		if err := s.process.Signal(syscall.SIGKILL); err != nil {
			return fmt.Errorf("kill %s: %w", stop.Name, err)
		}
		<-s.process.Done()
	}
	return nil
}

// Status lists the services by name.
func (m *Machine) Status(_ None, services *[]ServiceStatus) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.services {
		status := ServiceStatus{Name: s.spec.Name, Running: s.running(), Pid: s.process.Pid}
		if !status.Running {
			status.Ended = "exit code 0"
			if err := s.process.Wait(m.ctx); err != nil {
				status.Ended = err.Error()
			}
		}
		*services = append(*services, status)
	}
	slices.SortFunc(*services, func(a, b ServiceStatus) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

// Check fails if a service has ended, and says how its log ends.
func (m *Machine) Check(_ None, _ *None) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.services {
		if !s.running() {
			return fmt.Errorf("%s ended: %v; its log ends:\n%s", s.spec.Name, s.process.Wait(m.ctx), tail(s.spec.Log))
		}
	}
	return nil
}

// Run runs a program to its end; if it fails, the error has what it printed.
func (m *Machine) Run(argv []string, _ *None) error {
	log, err := os.CreateTemp("/run", "run-*.log")
	if err != nil {
		return err
	}
	defer os.Remove(log.Name())
	log.Close()
	process, err := m.spawn(argv, nil, log.Name())
	if err != nil {
		return err
	}
	if err := process.Wait(m.ctx); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, tail(log.Name()))
	}
	return nil
}

func (m *Machine) spawn(argv, env []string, logFile string) (*reaper.Process, error) {
	program, err := lookPath(argv[0])
	if err != nil {
		return nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	return m.children.Start(program, argv, &os.ProcAttr{
		Dir:   "/",
		Env:   append([]string{"PATH=" + path, "HOME=/root", "TMPDIR=/var/tmp"}, env...),
		Files: []*os.File{null, log, log},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
}

// lookPath is os/exec's, which the house of a reaper does without.
func lookPath(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for dir := range strings.SplitSeq(path, ":") {
		file := dir + "/" + name
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("%s is not in %s", name, path)
}

// tail is the end of a log.
func tail(file string) string {
	content, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
