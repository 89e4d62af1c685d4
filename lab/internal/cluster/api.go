package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/lab/internal/network"
	"github.com/weftmesh/weft/lab/internal/state"
)

// api is the little that the lab itself wants of the API server; a client
// library would be most of weft-lab.
type api struct {
	url  string
	http *http.Client
}

func newAPI(p *network.Plan, dir state.Dir) (*api, error) {
	file := func(name string) string { return filepath.Join(dir.PKI(), name) }
	certificate, err := tls.LoadX509KeyPair(file("apiserver-kubelet-client.crt"), file("apiserver-kubelet-client.key"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(file("ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &api{
		url: "https://" + p.APIServer().String(),
		http: &http.Client{
			Timeout:   10 * time.Second,
			Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate}}},
		},
	}, nil
}

// call sends in, if it is not nil, and reads the answer into out, if that is not.
func (a *api) call(ctx context.Context, method, path, contentType string, in []byte, out any) (int, error) {
	request, err := http.NewRequestWithContext(ctx, method, a.url+path, bytes.NewReader(in))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("Accept", "application/json")
	response, err := a.http.Do(request)
	if err != nil {
		return 0, fmt.Errorf("API server: %w", err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, fmt.Errorf("API server: %s %s: %w", method, path, err)
	}
	if response.StatusCode >= 300 {
		return response.StatusCode, fmt.Errorf("API server: %s %s: %s: %s", method, path, response.Status, bytes.TrimSpace(content))
	}
	if out == nil {
		return response.StatusCode, nil
	}
	return response.StatusCode, json.Unmarshal(content, out)
}

// register makes the Node objects before the kubelets do, so that each node's
// part of the Pod ranges is the one that the routes lead to.
func (a *api) register(ctx context.Context, p *network.Plan) error {
	for _, n := range p.Nodes {
		var ranges []string
		for _, r := range n.PodCIDRs {
			ranges = append(ranges, r.String())
		}
		node, err := json.Marshal(object{
			"apiVersion": "v1",
			"kind":       "Node",
			"metadata":   object{"name": n.Name},
			"spec":       object{"podCIDR": ranges[0], "podCIDRs": ranges},
		})
		if err != nil {
			return err
		}
		if _, err := a.call(ctx, http.MethodPost, "/api/v1/nodes", "application/json", node, nil); err != nil {
			return fmt.Errorf("register %s: %w", n.Name, err)
		}
	}
	return nil
}

// nodeList is what is looked at of a list of Nodes.
type nodeList struct {
	Items []struct {
		Metadata struct{ Name string }
		Status   struct {
			Conditions []struct{ Type, Status, Message string }
		}
	}
}

// waitReady returns when every node of the plan is Ready and Pods can be made,
// or when broken tells that this will not be.
func (a *api) waitReady(ctx context.Context, p *network.Plan, broken func(context.Context) error) error {
	for {
		if err := broken(ctx); err != nil {
			return err
		}
		missing, err := a.missing(ctx, p)
		if err == nil && len(missing) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			if err != nil {
				return err
			}
			return fmt.Errorf("not ready in time: %s", strings.Join(missing, "; "))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// missing says what the lab still waits for.
func (a *api) missing(ctx context.Context, p *network.Plan) ([]string, error) {
	var list nodeList
	if _, err := a.call(ctx, http.MethodGet, "/api/v1/nodes?resourceVersion=0", "", nil, &list); err != nil {
		return nil, err
	}
	var missing []string
	for _, n := range p.Nodes {
		if reason := notReady(list, n.Name); reason != "" {
			missing = append(missing, n.Name+": "+reason)
		}
	}
	code, err := a.call(ctx, http.MethodGet, "/api/v1/namespaces/default/serviceaccounts/default", "", nil, nil)
	switch {
	case code == http.StatusNotFound:
		missing = append(missing, "ServiceAccount default/default is not there")
	case err != nil:
		return nil, err
	}
	return missing, nil
}

func notReady(list nodeList, name string) string {
	for _, item := range list.Items {
		if item.Metadata.Name != name {
			continue
		}
		i := slices.IndexFunc(item.Status.Conditions, func(c struct{ Type, Status, Message string }) bool { return c.Type == "Ready" })
		switch {
		case i < 0:
			return "has not reported"
		case item.Status.Conditions[i].Status != "True":
			return item.Status.Conditions[i].Message
		}
		return ""
	}
	return "is not registered"
}

// apply creates or changes an object, by server-side apply.
func (a *api) apply(ctx context.Context, path string, o object) error {
	content, err := json.Marshal(o)
	if err != nil {
		return err
	}
	_, err = a.call(ctx, http.MethodPatch, path+"?fieldManager=weft-lab&force=true", "application/apply-patch+yaml", content, nil)
	return err
}

// waitDeployment returns when a Deployment has all its Pods available.
func (a *api) waitDeployment(ctx context.Context, path string) error {
	for {
		var d struct {
			Spec   struct{ Replicas int }
			Status struct{ AvailableReplicas int }
		}
		if _, err := a.call(ctx, http.MethodGet, path, "", nil, &d); err != nil {
			return err
		}
		if d.Status.AvailableReplicas >= d.Spec.Replicas {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s has %d of %d Pods: %w", path, d.Status.AvailableReplicas, d.Spec.Replicas, context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
}
