// Package state is the folder of one lab on this machine: where everything is
// in it, and the lock that tells whether somebody runs it. It never looks into
// files; whose they are, knows what they mean.
package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// DefaultRoot is the folder of all labs, unless $WEFT_LAB_STATE says otherwise.
// It must be on a disk: nodes keep their images there.
const DefaultRoot = "/var/lib/weft-lab"

var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// Dir is the folder of one lab. It need not exist.
type Dir struct {
	Name string
	root string
}

// Open names the folder of a lab.
func Open(name string) (Dir, error) {
	if !validName.MatchString(name) {
		return Dir{}, fmt.Errorf("lab name %q: 1 to 32 lower-case letters, digits and hyphens, no hyphen at the ends", name)
	}
	root := DefaultRoot
	if r := os.Getenv("WEFT_LAB_STATE"); r != "" {
		var err error
		if root, err = filepath.Abs(r); err != nil {
			return Dir{}, err
		}
	}
	return Dir{Name: name, root: root}, nil
}

// Path is the folder itself.
func (d Dir) Path() string { return filepath.Join(d.root, d.Name) }

// Config is the file that says what the lab is.
func (d Dir) Config() string { return filepath.Join(d.Path(), "config.json") }

// Log is the file with what the lab's own processes had to say.
func (d Dir) Log() string { return filepath.Join(d.Path(), "lab.log") }

// Program is the lab's own copy of weft-lab.
func (d Dir) Program() string { return filepath.Join(d.Path(), "weft-lab") }

// PKI is the folder of certificates and kubeconfigs.
func (d Dir) PKI() string { return filepath.Join(d.Path(), "pki") }

// Kubeconfig is the administrator's.
func (d Dir) Kubeconfig() string { return filepath.Join(d.PKI(), "admin.conf") }

// Images is the folder that every node sees, for images on their way.
func (d Dir) Images() string { return filepath.Join(d.Path(), "images") }

// Var is what is /var in a machine.
func (d Dir) Var(machine string) string { return filepath.Join(d.Path(), "machines", machine, "var") }

// Control is the socket of the lab's supervisor, Init the one of its process 1.
func (d Dir) Control() string { return filepath.Join(d.Path(), "control.sock") }

// Init is the socket of the lab's process 1.
func (d Dir) Init() string { return filepath.Join(d.Path(), "init.sock") }

// Exists tells whether there is anything of the lab.
func (d Dir) Exists() bool {
	_, err := os.Lstat(d.Path())
	return err == nil
}

// Create makes the folder.
func (d Dir) Create() error {
	for _, dir := range []string{d.Path(), d.Images()} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return err
		}
	}
	return nil
}

// Remove removes the folder with all that is in it.
func (d Dir) Remove() error { return os.RemoveAll(d.Path()) }

// Shared is the folder for what all labs have in common; its lock is for
// changing that.
func Shared() (Dir, error) {
	d, err := Open("x")
	d.Name = ".shared" // no name of a lab
	return d, err
}

// Borrowed is the file that tells what labs changed of the machine.
func (d Dir) Borrowed() string { return filepath.Join(d.Path(), "borrowed.json") }

// Names lists the labs that there is anything of.
func Names() ([]string, error) {
	d, err := Open("x")
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(d.root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && validName.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// Lock is held by whoever runs a lab, or cleans up after it.
type Lock struct {
	// File may be handed to another process, which then holds the lock.
	File *os.File
	dir  Dir
}

// ErrLocked tells that somebody holds the lock.
var ErrLocked = errors.New("locked")

func (d Dir) lockFile() string { return filepath.Join(d.root, d.Name+".lock") }

// Lock takes the lock, or returns ErrLocked.
func (d Dir) Lock() (*Lock, error) {
	for {
		if err := os.MkdirAll(d.root, 0o755); err != nil {
			return nil, err
		}
		f, err := os.OpenFile(d.lockFile(), os.O_RDWR|os.O_CREATE, 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the last lab's folder went away just now
		}
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			f.Close()
			if errors.Is(err, syscall.EWOULDBLOCK) {
				return nil, ErrLocked
			}
			return nil, fmt.Errorf("lock of lab %s: %w", d.Name, err)
		}
		// Who had the lock before may have removed the file.
		held, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, err
		}
		if named, err := os.Stat(d.lockFile()); err == nil && os.SameFile(held, named) {
			return &Lock{File: f, dir: d}, nil
		}
		f.Close()
	}
}

// WaitLock takes the lock as soon as nobody else holds it.
func (d Dir) WaitLock(ctx context.Context) (*Lock, error) {
	for {
		l, err := d.Lock()
		if !errors.Is(err, ErrLocked) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(err, context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Inherit is the lock that another process took and handed over.
func (d Dir) Inherit(f *os.File) *Lock { return &Lock{File: f, dir: d} }

// SetHolder notes the process that holds the lock.
func (l *Lock) SetHolder(pid int) error {
	if err := l.File.Truncate(0); err != nil {
		return err
	}
	_, err := l.File.WriteAt([]byte(strconv.Itoa(pid)+"\n"), 0)
	return err
}

// Holder is the process that holds the lock.
func (d Dir) Holder() (int, error) {
	content, err := os.ReadFile(d.lockFile())
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("%s names no process", d.lockFile())
	}
	return pid, nil
}

// Release gives the lock up and removes its file; and the folder of all labs,
// if it is empty.
func (l *Lock) Release() error {
	err := os.Remove(l.dir.lockFile())
	l.File.Close()
	// Fails while there are other labs.
	_ = os.Remove(l.dir.root)
	return err
}
