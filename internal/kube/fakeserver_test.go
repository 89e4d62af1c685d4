package kube

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fakeServer speaks as much of the API server's list and watch protocol as the source needs. It is for tests of the source only; the lab
// has the real one.
type fakeServer struct {
	*httptest.Server

	mu        sync.Mutex
	rv        int
	oldest    int                            // watches from before this get 410
	resources map[string]map[string]any      // by URL path: "/api/v1/services"; then objects by key
	log       map[string][]event             // changes by URL path
	changed   chan struct{}                  // closed and replaced at every change
	closing   chan struct{}                  // closed and replaced to end all watches
	streaming bool                           // lists may be had as a watch
	requests  map[string]int                 // by "list path" and "watch path"
	garbage   bool                           // the next event of every watch is no object
	refuse    func(path string) (status int) // 0 is not
	queries   []string
}

type event struct {
	rv   int
	kind string
	obj  any
}

func newFakeServer(t *testing.T) *fakeServer {
	s := &fakeServer{
		rv: 100, oldest: 100, resources: map[string]map[string]any{}, log: map[string][]event{},
		changed: make(chan struct{}), closing: make(chan struct{}), requests: map[string]int{},
	}
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() {
		s.Listener.Close()
		s.endWatches()
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func (s *fakeServer) install(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.resources[path] == nil {
		s.resources[path] = map[string]any{}
	}
}

func (s *fakeServer) uninstall(path string) {
	s.mu.Lock()
	delete(s.resources, path)
	delete(s.log, path)
	s.mu.Unlock()
	s.endWatches()
}

// put stores a copy of the object under a new resourceVersion.
func (s *fakeServer) put(path, kind, apiVersion string, obj Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rv++
	obj = obj.DeepCopyObject().(Object)
	obj.SetResourceVersion(strconv.Itoa(s.rv))
	raw := asMap(obj)
	raw["kind"], raw["apiVersion"] = kind, apiVersion
	verb := "ADDED"
	if _, was := s.resources[path][keyOf(obj).String()]; was {
		verb = "MODIFIED"
	}
	s.resources[path][keyOf(obj).String()] = raw
	s.tell(path, event{s.rv, verb, raw})
}

func (s *fakeServer) delete(path, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rv++
	raw := s.resources[path][key].(map[string]any)
	delete(s.resources[path], key)
	s.tell(path, event{s.rv, "DELETED", raw})
}

func (s *fakeServer) tell(path string, e event) {
	s.log[path] = append(s.log[path], e)
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *fakeServer) endWatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.closing)
	s.closing = make(chan struct{})
}

func (s *fakeServer) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *fakeServer) count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[what]
}

func asMap(o any) (m map[string]any) {
	b, err := json.Marshal(o)
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil {
		panic(err)
	}
	return m
}

func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(status(code, reason))
}

func status(code int, reason metav1.StatusReason) map[string]any {
	return map[string]any{
		"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": "fake: " + string(reason),
	}
}

func (s *fakeServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	path, q := req.URL.Path, req.URL.Query()
	watching := q.Get("watch") == "true"
	s.mu.Lock()
	verb := "list "
	if watching {
		verb = "watch "
	}
	s.requests[verb+path]++
	s.queries = append(s.queries, verb+req.URL.String())
	objects, installed := s.resources[path]
	refused := 0
	if s.refuse != nil {
		refused = s.refuse(path)
	}
	rv, streaming := s.rv, s.streaming
	var items []any
	for _, o := range objects {
		items = append(items, o)
	}
	s.mu.Unlock()
	switch {
	case refused != 0:
		refuse(w, refused, metav1.StatusReasonForbidden)
		return
	case !installed:
		http.NotFound(w, req) // plain text, as the API server answers for paths it does not know
		return
	case q.Get("sendInitialEvents") == "true" && !streaming:
		refuse(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid)
		return
	case !watching:
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{
			"kind": listKind(path), "apiVersion": groupVersion(path), "metadata": map[string]any{"resourceVersion": strconv.Itoa(rv)}, "items": items,
		})
		return
	}
	s.stream(w, req, path, items, rv)
}

func groupVersion(path string) string {
	parts := strings.Split(path, "/") // "", "api", "v1", … or "", "apis", group, version, …
	if parts[1] == "api" {
		return parts[2]
	}
	return parts[2] + "/" + parts[3]
}

func listKind(path string) string {
	return map[string]string{"services": "ServiceList", "nodes": "NodeList", "endpointslices": "EndpointSliceList", "widgets": "ConfigMapList"}[path[strings.LastIndex(path, "/")+1:]]
}

func (s *fakeServer) stream(w http.ResponseWriter, req *http.Request, path string, items []any, now int) {
	q := req.URL.Query()
	w.Header().Set("Content-Type", "application/json")
	send := func(kind string, obj any) {
		json.NewEncoder(w).Encode(map[string]any{"type": kind, "object": obj})
		w.(http.Flusher).Flush()
	}
	from, _ := strconv.Atoi(q.Get("resourceVersion"))
	if q.Get("sendInitialEvents") == "true" {
		for _, o := range items {
			send("ADDED", o)
		}
		kind := strings.TrimSuffix(listKind(path), "List")
		send("BOOKMARK", map[string]any{"kind": kind, "apiVersion": "v1", "metadata": map[string]any{
			"resourceVersion": strconv.Itoa(now), "annotations": map[string]string{metav1.InitialEventsAnnotationKey: "true"},
		}})
		from = now
	}
	s.mu.Lock()
	closing, gone := s.closing, from < s.oldest
	s.mu.Unlock()
	if gone {
		send("ERROR", status(http.StatusGone, metav1.StatusReasonExpired))
		return
	}
	w.(http.Flusher).Flush()
	for {
		s.mu.Lock()
		var news []event
		for _, e := range s.log[path] {
			if e.rv > from {
				news = append(news, e)
			}
		}
		changed, garbage := s.changed, s.garbage
		if len(news) > 0 {
			s.garbage = false
		}
		s.mu.Unlock()
		if garbage && len(news) > 0 {
			fmt.Fprint(w, "{\"type\":\"ADDED\",\"object\":}\x00\xff garbage")
			return
		}
		for _, e := range news {
			send(e.kind, e.obj)
			from = e.rv
		}
		select {
		case <-changed:
		case <-closing:
			return
		case <-req.Context().Done():
			return
		}
	}
}

// restart closes the server and brings it up again at the same address after fn, with nothing answering in between.
func (s *fakeServer) restart(t *testing.T, fn func()) {
	t.Helper()
	addr := s.Listener.Addr().String()
	s.Listener.Close() // first, or a client is back before the rest is closed
	s.endWatches()
	s.CloseClientConnections()
	s.Close()
	fn()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(s)
	srv.Listener.Close()
	srv.Listener = ln
	srv.Start()
	s.Server = srv
}

func service(ns, name, ip string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, UID: "uid-" + "x"}, Spec: corev1.ServiceSpec{ClusterIP: ip}}
}
