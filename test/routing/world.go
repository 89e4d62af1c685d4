package routing

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// object is what the tests themselves read of objects: where endpoints are.
type object struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name      string            `json:"name"`
		Namespace string            `json:"namespace"`
		Labels    map[string]string `json:"labels"`
	} `json:"metadata"`
	Spec struct {
		Address  string            `json:"address"`
		Labels   map[string]string `json:"labels"`
		Selector any               `json:"selector"`
		Ports    []struct {
			Name       string `json:"name"`
			TargetPort any    `json:"targetPort"`
		} `json:"ports"`
	} `json:"spec"`
	Ports []struct {
		Name string `json:"name"`
		Port uint16 `json:"port"`
	} `json:"ports"`
	Endpoints []struct {
		Addresses []string `json:"addresses"`
		TargetRef struct {
			Name string `json:"name"`
		} `json:"targetRef"`
	} `json:"endpoints"`
}

// Documents splits YAML into its documents.
func Documents(text string) (docs []string) {
	for doc := range strings.SplitSeq("\n"+text, "\n---") {
		if strings.TrimSpace(doc) != "" {
			docs = append(docs, doc)
		}
	}
	return docs
}

// Endpoints finds the endpoints that objects declare. One is called as its Pod or WorkloadEntry; behind a further port of the same Pod, as the Pod
// and the port's name, "api:http-admin".
func Endpoints(text string) (out []Endpoint, err error) {
	var objects []object
	for _, doc := range Documents(text) {
		var o object
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			return nil, fmt.Errorf("%w in %s", err, doc)
		}
		objects = append(objects, o)
	}
	for _, o := range objects {
		switch o.Kind {
		case "EndpointSlice":
			for i, p := range o.Ports {
				for _, e := range o.Endpoints {
					name := e.TargetRef.Name
					if i > 0 {
						name += ":" + p.Name
					}
					for _, a := range e.Addresses {
						addr, err := netip.ParseAddr(a)
						if err != nil {
							return nil, err
						}
						out = append(out, Endpoint{Name: name, Addr: netip.AddrPortFrom(addr, p.Port), Speaks: speaks(p.Name)})
					}
				}
			}
		case "WorkloadEntry":
			addr, err := netip.ParseAddr(o.Spec.Address)
			if err != nil {
				return nil, err
			}
			for _, s := range objects {
				if s.Kind != "Service" || s.Metadata.Namespace != o.Metadata.Namespace || !s.selects(o.Spec.Labels) {
					continue
				}
				for _, p := range s.Spec.Ports {
					if port, ok := p.TargetPort.(float64); ok {
						out = append(out, Endpoint{Name: o.Metadata.Name, Addr: netip.AddrPortFrom(addr, uint16(port)), Speaks: speaks(p.Name)})
					}
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b Endpoint) int { return a.Addr.Compare(b.Addr) })
	return out, nil
}

func (o *object) selects(labels map[string]string) bool {
	selector, ok := o.Spec.Selector.(map[string]any)
	if !ok || len(selector) == 0 {
		return false
	}
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}

// speaks goes by the name of the port, as Istio's protocol selection does.
func speaks(port string) Speaks {
	switch {
	case strings.HasPrefix(port, "tcp"):
		return SpeaksTCP
	case strings.HasPrefix(port, "tls"):
		return SpeaksTLS
	}
	return SpeaksHTTP
}
