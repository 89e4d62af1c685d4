package kube

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/weftmesh/weft/internal/store"
)

// edit is a file of which events tell.
type edit struct {
	name     string
	old, now *file // nil: it was not there, or is gone
}

// update brings the tables to what the files hold that events name, without looking at the others. It is false if that takes a look at the whole
// folder: something is a folder or a link, or was, or what stands in a file depends on what stands in others.
func (f *Folder) update(touched map[string]bool) bool {
	if f.linked || f.doubled || !f.settled() {
		return false
	}
	t := &tree{files: map[string]os.FileInfo{}, bad: map[string]error{}}
	var names []string
	for path := range touched {
		dir, base := filepath.Split(path)
		switch dir = filepath.Clean(dir); {
		case !f.dirs[dir] || f.dirs[path]:
			return false
		case isHidden(base):
			continue
		}
		name, err := filepath.Rel(f.dir, path)
		if err != nil {
			return false
		}
		info, err := os.Lstat(path)
		if err == nil && (info.IsDir() || info.Mode()&fs.ModeSymlink != 0) {
			return false
		}
		if !errors.Is(err, fs.ErrNotExist) {
			t.add(name, info, err)
		}
		names = append(names, name)
	}
	changes, newBad := f.changes(names, t)
	if !f.apart(changes) {
		return false
	}
	f.take(changes, names, t.bad)
	if len(changes) > 0 || newBad {
		f.tell(len(changes) > 0, f.findingsOfFiles())
	}
	return true
}

// changes reads the files that were named, and gives those that say something else than before.
func (f *Folder) changes(names []string, t *tree) (changes []edit, newBad bool) {
	for _, name := range names {
		c := edit{name: name, old: f.files[name]}
		if info := t.files[name]; info != nil {
			now, err := f.read(name, info, c.old)
			if c.now = now; err != nil {
				t.bad[name] = err
			}
		}
		if c.now != c.old {
			changes = append(changes, c)
		}
		newBad = newBad || !sameError(t.bad[name], f.bad[name])
	}
	return changes, newBad
}

func sameError(a, b error) bool {
	return (a == nil) == (b == nil) && (a == nil || a.Error() == b.Error())
}

// apart tells whether no object of these files stands in several places.
func (f *Folder) apart(changes []edit) bool {
	changing, seen := map[string]bool{}, map[*Kind]map[store.Key]bool{}
	for _, c := range changes {
		changing[c.name] = true
	}
	for _, c := range changes {
		if c.now == nil {
			continue
		}
		for _, d := range c.now.objects {
			key := keyOf(d.object)
			if seen[d.kind] == nil {
				seen[d.kind] = map[store.Key]bool{}
			}
			owner, taken := f.owners[d.kind.name][key]
			if seen[d.kind][key] || taken && !changing[owner] {
				return false
			}
			seen[d.kind][key] = true
		}
	}
	return true
}

// take puts what changed into the tables, in one commit.
func (f *Folder) take(changes []edit, names []string, bad map[string]error) {
	for _, name := range names {
		delete(f.bad, name)
		if err := bad[name]; err != nil {
			f.bad[name] = err
		}
	}
	if len(changes) == 0 {
		return
	}
	type gone struct {
		kind *Kind
		key  store.Key
	}
	left := map[gone]bool{}
	for _, c := range changes {
		if c.old != nil {
			for _, d := range c.old.objects {
				left[gone{d.kind, keyOf(d.object)}] = true
			}
		}
	}
	f.src.Commit(func(tx *store.Tx) {
		for _, c := range changes {
			if c.now == nil {
				delete(f.files, c.name)
				continue
			}
			f.files[c.name] = c.now
			for _, d := range c.now.objects {
				key := keyOf(d.object)
				d.kind.put(tx, d.object)
				f.owners[d.kind.name][key] = c.name
				delete(left, gone{d.kind, key})
			}
		}
		for g := range left {
			g.kind.remove(tx, g.key)
			delete(f.owners[g.kind.name], g.key)
		}
	})
}

func isHidden(name string) bool { return strings.HasPrefix(name, ".") }
