package serviceproxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// planFile keeps the last plan on disk: one whole plan, replaced atomically, and after it what changed since, so that a change costs what it
// holds. It is used by one goroutine at a time.
type planFile struct {
	dir string

	bytes int64 // of the file as it should be; 0: it has to be written whole
	whole int64 // of its first frame
}

// rewriteBytes is how much may follow the whole plan, or as much as that is, before the file is written anew.
const rewriteBytes = 256 << 10

func (f *planFile) path() string { return filepath.Join(f.dir, "plan") }

// savedPlan is what was on disk.
type savedPlan struct {
	written  time.Time
	services map[model.ServiceName]*plan.Service
}

// read gives the plan on disk, nil if there is none that can be used. With an error beside it, the plan is the one from before what is damaged.
func (f *planFile) read() (*savedPlan, error) {
	data, err := os.ReadFile(f.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the last plan: %w", err)
	}
	saved, whole, err := decodePlan(data)
	if err != nil {
		return saved, fmt.Errorf("read the last plan from %s: %w", f.path(), err)
	}
	f.bytes, f.whole = int64(len(data)), whole
	return saved, nil
}

func decodePlan(data []byte) (saved *savedPlan, whole int64, err error) {
	rest, ok := bytes.CutPrefix(data, []byte(planVersion))
	if !ok {
		return nil, 0, errors.New("it does not begin as a plan of this version does")
	}
	for {
		b, next, err := decodeFrame(rest)
		if errors.Is(err, io.EOF) && saved != nil {
			return saved, whole, nil
		}
		if err == nil {
			var services map[model.ServiceName]*plan.Service
			if services, err = servicesOf(b); err == nil {
				if saved == nil {
					saved = &savedPlan{services: map[model.ServiceName]*plan.Service{}}
					whole = int64(len(rest) - len(next))
				}
				saved.add(b.Written, services)
			}
		}
		if err != nil {
			return saved, whole, fmt.Errorf("at byte %d: %w", len(data)-len(rest), err)
		}
		rest = next
	}
}

func servicesOf(b batch) (map[model.ServiceName]*plan.Service, error) {
	out := make(map[model.ServiceName]*plan.Service, len(b.Services))
	for i := range b.Services {
		r := &b.Services[i]
		svc, err := r.service()
		if err != nil {
			return nil, err
		}
		out[model.ServiceName{Namespace: r.Namespace, Name: r.Name}] = svc
	}
	return out, nil
}

func (s *savedPlan) add(written time.Time, changes map[model.ServiceName]*plan.Service) {
	s.written = written
	for name, svc := range changes {
		if svc == nil {
			delete(s.services, name)
		} else {
			s.services[name] = svc
		}
	}
}

// needsWhole tells whether the next write has to be of everything.
func (f *planFile) needsWhole() bool {
	return f.bytes == 0 || f.bytes-f.whole > max(rewriteBytes, f.whole)
}

// write puts the changes, or with whole the only content there shall be, on disk and returns when they are there. A nil Service is one that is
// gone.
func (f *planFile) write(now time.Time, services map[model.ServiceName]*plan.Service, whole bool) error {
	b := batch{Written: now, Services: make([]serviceRecord, 0, len(services))}
	for name, svc := range services {
		b.Services = append(b.Services, recordOf(name, svc))
	}
	var buf bytes.Buffer
	if whole {
		buf.WriteString(planVersion)
	}
	err := encodeFrame(&buf, b)
	if err == nil && whole {
		err = f.replace(buf.Bytes())
	} else if err == nil {
		err = f.append(buf.Bytes())
	}
	if err != nil {
		f.bytes = 0 // who knows what is there now
		return fmt.Errorf("keep the plan on disk: %w", err)
	}
	if whole {
		f.bytes, f.whole = 0, int64(buf.Len())
	}
	f.bytes += int64(buf.Len())
	return nil
}

func (f *planFile) append(data []byte) error {
	file, err := os.OpenFile(f.path(), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil && info.Size() != f.bytes {
		err = fmt.Errorf("%s has %d bytes instead of %d", f.path(), info.Size(), f.bytes)
	}
	if err == nil {
		_, err = file.Write(data)
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// replace writes beside the file, then takes its name, so that there is a good one at any moment.
func (f *planFile) replace(data []byte) error {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(f.path()+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.path()+".new", f.path()); err != nil {
		return err
	}
	dir, err := os.Open(f.dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
