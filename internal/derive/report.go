package derive

import (
	"slices"

	"github.com/weftmesh/weft/internal/finding"
)

// reports keeps the findings of all results by object, and publishes them with the commit.
type reports struct {
	db       *DB
	byObject map[finding.Object]map[*node]struct{} // results that have findings on it; guarded by mu
	restated map[finding.Object]struct{}           // objects whose findings may have changed; guarded by mu
	journal  journal[finding.Object, []finding.Finding]
}

func (p *reports) init(db *DB) {
	p.db = db
	p.byObject = map[finding.Object]map[*node]struct{}{}
	p.restated = map[finding.Object]struct{}{}
	p.journal.init(db)
}

func (p *reports) pending() bool { return len(p.restated) > 0 }

// set replaces the findings of one result.
func (p *reports) set(n *node, fs []finding.Finding) {
	if slices.Equal(n.findings, fs) {
		return
	}
	for _, f := range n.findings {
		if of := p.byObject[f.Object]; of != nil {
			if delete(of, n); len(of) == 0 {
				delete(p.byObject, f.Object)
			}
		}
		p.restated[f.Object] = struct{}{}
	}
	n.findings = slices.Clone(fs)
	for _, f := range fs {
		of := p.byObject[f.Object]
		if of == nil {
			of = map[*node]struct{}{}
			p.byObject[f.Object] = of
		}
		of[n] = struct{}{}
		p.restated[f.Object] = struct{}{}
	}
}

// publish moves what changed to the journal. Both locks are held.
func (p *reports) publish(rev Rev) {
	if len(p.restated) == 0 {
		return
	}
	objects := make([]finding.Object, 0, len(p.restated))
	for o := range p.restated {
		objects = append(objects, o)
	}
	clear(p.restated)
	slices.SortFunc(objects, finding.Object.Compare)
	for _, o := range objects {
		var now []finding.Finding
		for n := range p.byObject[o] {
			for _, f := range n.findings {
				if f.Object == o {
					now = append(now, f)
				}
			}
		}
		slices.SortFunc(now, finding.Compare)
		now = slices.Compact(now) // several results may say the same
		was, _ := p.journal.get(o)
		switch {
		case slices.Equal(was, now):
		case len(now) == 0:
			p.journal.remove(o, rev)
		default:
			p.journal.set(o, now, rev)
		}
	}
	p.journal.notify()
}

func (p *reports) of(o finding.Object) []finding.Finding {
	p.db.gate.RLock()
	defer p.db.gate.RUnlock()
	fs, _ := p.journal.get(o)
	return slices.Clone(fs)
}

func (p *reports) all() (out []finding.Finding) {
	p.db.gate.RLock()
	defer p.db.gate.RUnlock()
	for _, m := range p.journal.members {
		if !m.gone {
			out = append(out, m.val...)
		}
	}
	slices.SortFunc(out, finding.Compare)
	return out
}
