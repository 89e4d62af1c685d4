package serviceproxy

import (
	"context"
	"maps"
	"time"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// saveRetry is how long after a failure the plan is written again.
const saveRetry = 10 * time.Second

// readDisk takes the last plan over, to be used until the sources are full.
func (p *Proxy) readDisk() {
	saved, err := p.file.read()
	if err != nil {
		p.state.fileError = err.Error()
		p.log.Error("the last plan on disk is damaged", "file", p.file.path(), "usable", saved != nil, "error", err)
	}
	if saved == nil {
		return
	}
	p.disk = newIndex()
	for name, svc := range saved.services {
		p.disk.set(name, svc, func(plan.Key) {})
	}
	p.state.diskWritten, p.pending = saved.written, p.started
	p.log.Info("last plan read from disk", "file", p.file.path(), "services", len(saved.services), "written", saved.written)
}

// saveLoop writes the plan a moment after it changed, and at the end.
func (p *Proxy) saveLoop(ctx context.Context) {
	if p.file == nil {
		return
	}
	for wait := p.opts.SaveDelay; ; {
		select {
		case <-ctx.Done():
			p.save(true)
			return
		case <-p.saving:
		}
		timer := time.NewTimer(wait) // what comes meanwhile goes into the same write
		select {
		case <-ctx.Done():
		case <-timer.C:
			wait = p.opts.SaveDelay
			if !p.save(false) {
				wait = saveRetry
				signal(p.saving)
			}
		}
		timer.Stop()
	}
}

// save writes what is not on disk yet; with mark also if that is nothing, so that the file tells until when it was right.
func (p *Proxy) save(mark bool) bool {
	p.mu.Lock()
	if !p.full || len(p.unsaved) == 0 && !mark && p.file.bytes != 0 {
		p.mu.Unlock()
		return true
	}
	whole := p.file.needsWhole()
	names := p.unsaved
	p.unsaved = map[model.ServiceName]bool{}
	var services map[model.ServiceName]*plan.Service
	if whole {
		services = maps.Clone(p.live.services)
	} else {
		services = make(map[model.ServiceName]*plan.Service, len(names))
		for name := range names {
			services[name] = p.live.services[name]
		}
	}
	p.mu.Unlock()

	start := time.Now()
	err := p.file.write(start, services, whole)
	p.metrics.saveDuration.Observe(time.Since(start).Seconds())
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.metrics.saveFailures.Inc()
		if p.state.fileError != err.Error() {
			p.log.Error("cannot keep the plan on disk", "file", p.file.path(), "error", err)
		}
		p.state.fileError = err.Error()
		maps.Copy(p.unsaved, names)
		return false
	}
	p.state.diskWritten, p.state.fileError = start, ""
	return true
}
