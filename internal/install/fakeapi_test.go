package install

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// fakeAPI keeps objects by URL path and answers reads, server-side applies (which it takes as they are) and deletes. What runs Pods it calls
// ready after having been looked at a few times. It is for the order and the refusals of the installer; the lab has the real one.
type fakeAPI struct {
	mu      sync.Mutex
	objects map[string]map[string]any // by path
	looks   map[string]int            // at what runs Pods, by path
	did     []string                  // "apply weft-node", "delete weft-node"
	stuck   string                    // the name of what never becomes ready
	queries []string
}

func newFakeAPI(t *testing.T) (*fakeAPI, *Installer, *[]string) {
	f := &fakeAPI{objects: map[string]map[string]any{}, looks: map[string]int{}}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	var said []string
	i, err := New(&rest.Config{Host: srv.URL, QPS: -1}, func(line string) { said = append(said, line) })
	if err != nil {
		t.Fatal(err)
	}
	i.poll = time.Millisecond
	return f, i, &said
}

func (f *fakeAPI) add(path, doc string) {
	var m map[string]any
	if err := json.Unmarshal([]byte(doc), &m); err != nil {
		panic(err)
	}
	f.objects[path] = m
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	path := req.URL.Path
	name := path[strings.LastIndex(path, "/")+1:]
	w.Header().Set("Content-Type", "application/json")
	obj, found := f.objects[path]
	switch {
	case req.Method == http.MethodPatch:
		f.queries = append(f.queries, req.URL.RawQuery)
		var m map[string]any
		body, err := io.ReadAll(req.Body)
		if err == nil {
			err = json.Unmarshal(body, &m)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		f.objects[path] = m
		f.did = append(f.did, "apply "+m["kind"].(string)+" "+name)
		f.looks[path] = 0
		json.NewEncoder(w).Encode(m)
	case req.Method == http.MethodDelete && found:
		delete(f.objects, path)
		f.did = append(f.did, "delete "+obj["kind"].(string)+" "+name)
		json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Success"})
	case req.Method == http.MethodGet && found:
		f.looks[path]++
		json.NewEncoder(w).Encode(f.withStatus(path, name, obj))
	case req.Method == http.MethodGet && listed(name):
		json.NewEncoder(w).Encode(f.list(path))
	default:
		w.WriteHeader(http.StatusNotFound)
		json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404})
	}
}

func listed(name string) bool {
	return lists[name] != [2]string{}
}

// lists are the kinds that are listed: kind and apiVersion of their lists.
var lists = map[string][2]string{
	"services": {"ServiceList", "v1"}, "pods": {"PodList", "v1"},
	"endpointslices": {"EndpointSliceList", "discovery.k8s.io/v1"}, "servicecidrs": {"ServiceCIDRList", "networking.k8s.io/v1"},
}

// list gives what is below a path, of all namespaces if the path names none.
func (f *fakeAPI) list(path string) map[string]any {
	kind := path[strings.LastIndex(path, "/")+1:]
	items := []any{}
	for _, p := range slices.Sorted(maps.Keys(f.objects)) {
		if strings.HasPrefix(p, path+"/") || !strings.Contains(path, "/namespaces/") && strings.Contains(p, "/"+kind+"/") {
			items = append(items, f.objects[p])
		}
	}
	return map[string]any{"kind": lists[kind][0], "apiVersion": lists[kind][1], "metadata": map[string]any{}, "items": items}
}

// withStatus makes what runs Pods ready at the fourth look.
func (f *fakeAPI) withStatus(path, name string, obj map[string]any) map[string]any {
	kind, _ := obj["kind"].(string)
	if (kind != "DaemonSet" && kind != "Deployment") || obj["status"] != nil {
		return obj
	}
	out := maps.Clone(obj)
	ready, wanted := 0, 2
	if f.looks[path] > 3 && name != f.stuck {
		ready = wanted
	}
	out["status"] = map[string]any{
		"observedGeneration": 0, "desiredNumberScheduled": wanted, "updatedNumberScheduled": wanted, "numberAvailable": ready,
		"replicas": wanted, "updatedReplicas": wanted, "availableReplicas": ready,
	}
	return out
}
