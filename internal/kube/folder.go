package kube

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/store"
)

// Folder keeps tables like a folder of manifests: all .yaml, .yml and .json files in it and below, each with any number of documents and
// lists. Make it with [NewFolder] and run it once.
//
// An object is decoded strictly, and used without what is not known of it. A document that cannot be read keeps nothing, not even what
// stood in its place before: the folder means what it says now, the same for every reader. Only a folder that cannot be read at all (it
// is not mounted, say) leaves everything as it was.
type Folder struct {
	dir     string
	src     *store.Source
	log     *slog.Logger
	kinds   []*Kind
	rhythm  rhythm
	changed chan struct{}

	// Only the goroutine of Run touches these.
	files   map[string]*file                // by path below dir
	bad     map[string]error                // by path below dir: what could not be read
	dirs    map[string]bool                 // that are watched
	linked  bool                            // a link is in it: a file may change without an event of its own
	owners  map[string]map[store.Key]string // by kind: in which file an object stands
	doubled bool                            // one stands in several places

	states map[string]*state // by kind

	mu       sync.Mutex
	findings []finding.Finding
}

// rhythm is how long things wait. Tests make it short.
type rhythm struct {
	settle time.Duration // after the last event, because editors write in several steps
	moved  time.Duration // the same if nothing was seen but files that came under their name: moved there they are whole
	latest time.Duration // after the first event, however many follow
	poll   time.Duration // for what no event tells of: files behind links, network file systems, folders that cannot be watched
}

// file is a manifest as it was last read.
type file struct {
	info     os.FileInfo
	sum      [sha256.Size]byte
	objects  []declared
	findings []finding.Finding
}

// NewFolder makes a source of these kinds. It says at once that they are expected; nothing is read before Run.
func NewFolder(dir string, src *store.Source, log *slog.Logger, kinds ...*Kind) (*Folder, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("folder of manifests %s: %w", dir, err)
	}
	f := &Folder{
		dir: abs, src: src, log: log.With("folder", dir), kinds: kinds,
		rhythm:  rhythm{settle: 50 * time.Millisecond, moved: 5 * time.Millisecond, latest: time.Second, poll: 5 * time.Second},
		changed: make(chan struct{}, 1), files: map[string]*file{}, states: map[string]*state{},
	}
	for _, k := range kinds {
		src.Expect(k.name)
		f.states[k.name] = &state{s: KindStatus{Kind: k.name, Source: src.Name()}}
	}
	return f, nil
}

// Findings gives what is wrong in the folder, in the order of [finding.Compare]. The slice is the caller's.
func (f *Folder) Findings() []finding.Finding {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.findings)
}

// Changed has a value when Findings gives something else than before.
func (f *Folder) Changed() <-chan struct{} { return f.changed }

// Status gives the state of every kind, in the order they were given to NewFolder.
func (f *Folder) Status() []KindStatus {
	var out []KindStatus
	for _, k := range f.kinds {
		out = append(out, f.states[k.name].get())
	}
	return out
}

// Run reads the folder and follows it until ctx ends.
func (f *Folder) Run(ctx context.Context) {
	watch, err := fsnotify.NewWatcher()
	if err != nil {
		f.log.Warn("folder cannot be watched, looking at it from time to time", "every", f.rhythm.poll, "err", err)
		watch = &fsnotify.Watcher{} // its channels are nil and never ready
	} else {
		defer func() { _ = watch.Close() }()
	}
	f.load(watch, always)
	poll := time.NewTicker(f.rhythm.poll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
			if f.upToDate() {
				continue
			}
			if !f.settle(ctx, watch, map[string]bool{}, f.rhythm.settle) { // whoever writes may be in the middle of it
				return
			}
			f.load(watch, never)
		case err := <-watch.Errors:
			f.log.Debug("events were lost, perhaps", "err", err)
			f.load(watch, always)
		case e := <-watch.Events:
			touched := map[string]bool{e.Name: true}
			if !f.settle(ctx, watch, touched, f.patience(e)) {
				return
			}
			if !f.update(touched) {
				f.load(watch, func(path string) bool { return touched[path] })
			}
		}
	}
}

// suspicion tells whether a file may have another content though it looks as it did.
type suspicion func(path string) bool

func always(string) bool { return true }
func never(string) bool  { return false }

// settle waits until the folder is quiet and collects the paths that events name. It tells whether ctx goes on.
func (f *Folder) settle(ctx context.Context, watch *fsnotify.Watcher, touched map[string]bool, patience time.Duration) bool {
	latest := time.NewTimer(f.rhythm.latest)
	defer latest.Stop()
	quiet := time.NewTimer(patience)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case e := <-watch.Events:
			touched[e.Name] = true
			patience = max(patience, f.patience(e))
			quiet.Reset(patience)
		case <-quiet.C:
			return true
		case <-latest.C:
			return true
		}
	}
}

// patience is how long to wait for more after an event. A file that was only now made is told of twice: that it came, and that it is written to.
func (f *Folder) patience(e fsnotify.Event) time.Duration {
	if e.Op == fsnotify.Create {
		return min(f.rhythm.moved, f.rhythm.settle)
	}
	return f.rhythm.settle
}

// upToDate tells whether the folder looks as it did when it was last read.
func (f *Folder) upToDate() bool {
	t, err := walk(f.dir)
	return err == nil && f.settled() && len(t.bad) == 0 && len(f.bad) == 0 &&
		maps.EqualFunc(t.files, f.files, func(now os.FileInfo, then *file) bool { return unchanged(now, then.info) })
}

// load brings the tables to what the folder holds now. A file that looks as it did is read again only on suspicion.
func (f *Folder) load(watch *fsnotify.Watcher, suspect suspicion) {
	t, err := f.look(watch)
	if err != nil {
		f.failed(fmt.Errorf("folder of manifests: %w", err))
		return
	}
	files := make(map[string]*file, len(t.files))
	f.dirs, f.linked = make(map[string]bool, len(t.dirs)), t.linked
	for _, dir := range t.dirs {
		f.dirs[dir] = true
	}
	news := false
	for name, info := range t.files {
		old := f.files[name]
		if old != nil && unchanged(old.info, info) && !suspect(filepath.Join(f.dir, name)) {
			files[name] = old
			continue
		}
		now, err := f.read(name, info, old)
		if err != nil {
			t.bad[name] = err
			continue
		}
		files[name] = now
		news = news || now != old
	}
	news = news || len(files) != len(f.files)
	f.files = files
	if sameBad := maps.EqualFunc(t.bad, f.bad, sameError); news || !sameBad || !f.settled() {
		f.bad = t.bad
		f.commit(news)
	}
}

// look walks the folder and watches all of it. It walks again if there were folders to watch anew: a file may have come into one before
// the watch was there.
func (f *Folder) look(watch *fsnotify.Watcher) (*tree, error) {
	for {
		t, err := walk(f.dir)
		if err != nil || !follow(watch, t.dirs) {
			return t, err
		}
	}
}

// read gives the file as it is, which is old if its content is the same.
func (f *Folder) read(name string, info os.FileInfo, old *file) (*file, error) {
	data, err := readFile(filepath.Join(f.dir, name))
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	if old != nil && old.sum == sum {
		old.info = info
		return old, nil
	}
	now := &file{info: info, sum: sum}
	now.objects, now.findings = parse(f.kinds, name, data)
	return now, nil
}

// commit puts what all files say into the tables, in one commit.
func (f *Folder) commit(news bool) {
	all, doubled := f.merge()
	f.doubled = len(doubled) > 0
	if news || !f.synced() {
		f.src.Commit(func(tx *store.Tx) {
			for _, k := range f.kinds {
				k.replace(tx, maps.Values(all[k.name]))
			}
		})
	}
	f.tell(news, append(f.findingsOfFiles(), doubled...))
}

// findingsOfFiles is what is wrong in each file, and with those that cannot be read.
func (f *Folder) findingsOfFiles() (findings []finding.Finding) {
	for _, file := range f.files {
		findings = append(findings, file.findings...)
	}
	for name, err := range f.bad {
		findings = append(findings, finding.Finding{
			Object: finding.Object{Kind: "Manifest", Name: name}, Severity: finding.Error, Code: CodeUnreadable,
			Message: err.Error() + "; nothing of it is used",
		})
	}
	return findings
}

// tell says what was read.
func (f *Folder) tell(news bool, findings []finding.Finding) {
	synced := f.synced()
	for _, k := range f.kinds {
		if !synced {
			f.src.MarkSynced(k.name)
		}
		s := f.states[k.name]
		s.connected(true, nil)
		s.change(func(s *KindStatus) {
			if news || !synced {
				s.LastEvent = time.Now()
			}
			if news && synced {
				s.Events++
			}
			s.Synced, s.Objects = true, len(f.owners[k.name])
		})
	}
	if news || !synced {
		f.log.Info("folder read", "files", len(f.files), "findings", len(findings))
	}
	f.publish(findings)
}

func (f *Folder) synced() bool { return f.every(func(s KindStatus) bool { return s.Synced }) }

// settled tells whether the last look at the folder was a good one.
func (f *Folder) settled() bool {
	return f.every(func(s KindStatus) bool { return s.Synced && s.Connected })
}

func (f *Folder) every(is func(KindStatus) bool) bool {
	for _, s := range f.states {
		if !is(s.get()) {
			return false
		}
	}
	return true
}

// merge collects the objects of all files. Of an object that stands in several places the first by path is taken, which is what it finds wrong.
func (f *Folder) merge() (all map[string]map[store.Key]Object, doubled []finding.Finding) {
	all = make(map[string]map[store.Key]Object, len(f.kinds))
	f.owners = make(map[string]map[store.Key]string, len(f.kinds))
	first := map[Object]string{}
	for _, k := range f.kinds {
		all[k.name], f.owners[k.name] = map[store.Key]Object{}, map[store.Key]string{}
	}
	for _, name := range slices.Sorted(maps.Keys(f.files)) {
		for _, d := range f.files[name].objects {
			key := keyOf(d.object)
			if taken, ok := all[d.kind.name][key]; ok {
				doubled = append(doubled, finding.Finding{
					Object:   finding.Object{Kind: d.kind.name, Namespace: key.Namespace, Name: key.Name},
					Severity: finding.Error, Code: CodeDoubledObject,
					Message: fmt.Sprintf("stands in %s and in %s; the first is used", first[taken], d.place),
				})
				continue
			}
			all[d.kind.name][key], f.owners[d.kind.name][key] = d.object, name
			first[d.object] = d.place
		}
	}
	return all, doubled
}

// failed notes that the folder cannot be read; the tables keep what they have.
func (f *Folder) failed(err error) {
	news := false
	for _, s := range f.states {
		news = s.connected(false, err) || news
	}
	if news {
		f.log.Warn("folder cannot be read, objects stay as they are", "err", err)
	}
	unreadable := finding.Finding{
		Object: finding.Object{Kind: "Manifest", Name: f.dir}, Severity: finding.Error, Code: CodeUnreadable,
		Message: err.Error() + "; objects stay as they are",
	}
	kept := slices.DeleteFunc(f.Findings(), func(o finding.Finding) bool { return o.Object == unreadable.Object })
	f.publish(append(kept, unreadable))
}

func (f *Folder) publish(findings []finding.Finding) {
	slices.SortFunc(findings, finding.Compare)
	f.mu.Lock()
	defer f.mu.Unlock()
	if slices.Equal(f.findings, findings) {
		return
	}
	f.findings = findings
	select {
	case f.changed <- struct{}{}:
	default: // already told
	}
}

// follow watches exactly these folders and tells whether any of them was not watched before. One that cannot be watched is looked at from
// time to time all the same.
func follow(watch *fsnotify.Watcher, dirs []string) (added bool) {
	if watch.Events == nil {
		return false
	}
	watched := map[string]bool{}
	for _, old := range watch.WatchList() {
		watched[old] = true
		if !slices.Contains(dirs, old) {
			_ = watch.Remove(old) // it may be gone, and the watch with it
		}
	}
	for _, dir := range dirs {
		if watch.Add(dir) == nil && !watched[dir] { // adding again follows a link that leads elsewhere now
			added = true
		}
	}
	return added
}
