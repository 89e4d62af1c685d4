package cli

import (
	"context"
	"log/slog"
	"os"
	"sync"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"

	"github.com/weftmesh/weft/internal/admin"
	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/jwks"
	"github.com/weftmesh/weft/internal/kube"
	"github.com/weftmesh/weft/internal/lower/service"
	"github.com/weftmesh/weft/internal/lower/workload"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// sourceFlags say where a component gets its objects.
type sourceFlags struct {
	apiServers []string
	folder     string
	quiet      bool // only warnings are logged: for commands that people run
}

func (f *sourceFlags) define(fs *pflag.FlagSet) {
	fs.StringSliceVar(&f.apiServers, "api-server", nil, "address of the API server, used instead of the configured one; several are tried in turn")
	fs.StringVarP(&f.folder, "folder", "f", "", "read manifests from this folder, and watch it, instead of asking an API server")
}

// world is the declared objects and what they mean: the part that every component shares.
type world struct {
	log       *slog.Logger
	store     *store.Store
	tables    *kube.Tables
	model     *compose.Model
	workloads *workload.Lowered // nil where nobody asks who runs at an address

	keySets *store.Table[model.KeySet] // what was fetched of the keys that RequestAuthentications ask for

	config *rest.Config // nil: there is no API server
	source interface {
		kube.Source
		Run(context.Context)
	}
	folder *kube.Folder // nil: there is none

	full     chan struct{} // closed when the objects add up to everything: from their source, or from a snapshot
	fullOnce sync.Once
}

// markFull says that the objects add up to everything.
func (w *world) markFull() { w.fullOnce.Do(func() { close(w.full) }) }

// newWorld makes the tables and queries and the source that will fill them with these kinds.
func newWorld(g *globals, component string, f sourceFlags, kinds func(*kube.Tables) []*kube.Kind) (*world, error) {
	log := slog.Default().With("component", component)
	if f.quiet {
		log = slog.New(louder{log.Handler()})
	}
	w := emptyWorld(log)
	if f.folder != "" {
		folder, err := kube.NewFolder(f.folder, w.store.Source("folder:"+f.folder), log, kinds(w.tables)...)
		if err != nil {
			return nil, err
		}
		w.source, w.folder = folder, folder
		return w, nil
	}
	config, err := kube.Config(kube.ClientOptions{Component: component, Version: Version(), Kubeconfig: g.kubeconfig, Context: g.context, APIServers: f.apiServers})
	if err != nil {
		return nil, err
	}
	w.config = config
	w.source, err = kube.NewAPIServer(config, w.store.Source("api-server"), log, kinds(w.tables)...)
	return w, err
}

// emptyWorld makes the tables and queries, without anybody who fills them.
func emptyWorld(log *slog.Logger) *world {
	w := &world{log: log, store: store.New(log), full: make(chan struct{})}
	w.tables, w.keySets = kube.NewTables(w.store), jwks.NewTable(w.store)
	objects := service.Objects{Services: w.tables.Services, Slices: w.tables.EndpointSlices, SlicesByService: w.tables.SlicesByService, Nodes: w.tables.Nodes, Secrets: w.tables.Secrets}
	w.model = compose.Define(w.store.DB(), objects, service.Define(w.store.DB(), objects))
	return w
}

// louder passes on warnings and errors.
type louder struct{ slog.Handler }

func (h louder) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && h.Handler.Enabled(ctx, l)
}

func (h louder) WithAttrs(as []slog.Attr) slog.Handler { return louder{h.Handler.WithAttrs(as)} }

// findings are what queries and sources have to say.
func (w *world) findings() []finding.Finding {
	out := w.store.DB().AllFindings()
	if w.folder != nil {
		out = append(out, w.folder.Findings()...)
	}
	return out
}

// sources says how well each kind arrives.
func (w *world) sources() (out []admin.Source) {
	for _, k := range w.source.Status() {
		out = append(out, admin.Source{Kind: k.Kind, From: k.Source, Objects: k.Objects, Synced: k.Synced, Connected: k.Connected, Absent: k.Absent,
			Since: k.Since, LastEvent: k.LastEvent, LastError: k.LastError})
	}
	return out
}

// run fills the store until ctx ends.
func (w *world) run(ctx context.Context) error {
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if w.store.Wait(ctx) == nil {
			w.markFull()
		}
	})
	w.source.Run(ctx)
	waiting.Wait()
	return nil
}

// follow hands every change of a family to apply, one call for what came together, until ctx ends. When the store is full, and its content
// handed over, full is called once.
func follow[V any](ctx context.Context, w *world, family *derive.Family[store.Key, V], apply func(derive.Rev, []derive.Delta[store.Key, V]), full func()) {
	feed := w.store.DB().NewFeed()
	var batch []derive.Delta[store.Key, V]
	stop := family.Follow(feed, func(d derive.Delta[store.Key, V]) { batch = append(batch, d) })
	defer stop()
	drain := func() {
		batch = batch[:0]
		if _, rev := feed.Drain(); len(batch) > 0 {
			apply(rev, batch)
		}
	}
	waiting := w.full
	for {
		select {
		case <-ctx.Done():
			return
		case <-feed.Wake():
			drain()
		case <-waiting:
			drain()
			full()
			waiting = nil
		}
	}
}

// instance is who this process is: the Pod's name, or the host's.
func instance() string {
	if name := os.Getenv("POD_NAME"); name != "" {
		return name
	}
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}
