package stats

import "strings"

// Workload is who is on one side of traffic, as Istio's metrics say it. "" is unknown.
type Workload struct {
	Name, Namespace                     string
	Principal                           string // SPIFFE ID, of a certificate that was verified
	App, Version                        string
	CanonicalService, CanonicalRevision string
	Cluster                             string
}

// labels gives the workload's labels for a side, "source" or "destination".
func (w Workload) labels(side string) []Label {
	// The namespace in a verified identity stands above what somebody says of himself.
	if _, rest, ok := strings.Cut(w.Principal, "/ns/"); ok {
		w.Namespace, _, _ = strings.Cut(rest, "/")
	}
	if w.CanonicalRevision == "" && (w.Name != "" || w.CanonicalService != "") {
		w.CanonicalRevision = "latest"
	}
	return []Label{
		{side + "_workload", known(w.Name)},
		{side + "_workload_namespace", known(w.Namespace)},
		{side + "_principal", known(w.Principal)},
		{side + "_app", known(w.App)},
		{side + "_version", known(w.Version)},
		{side + "_canonical_service", known(w.CanonicalService)},
		{side + "_canonical_revision", known(w.CanonicalRevision)},
		{side + "_cluster", known(w.Cluster)},
	}
}

func known(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// Traffic is what requests and connections have in common that one set of series counts.
type Traffic struct {
	// Inbound: it came to the proxy's own workload, which is the destination; else the proxy's workload is the source.
	Inbound bool
	// Cluster is the name of where it went, in Istio's form outbound|PORT|SUBSET|HOST or any other. It comes from configuration.
	Cluster string
	// Host, Service and Namespace name the Service, where configuration says them; else they are read from the cluster's name.
	Host, Service, Namespace string
	// Peer is the other side.
	Peer Workload
	// Principal is our own, where the connection to the peer is mutual TLS.
	Principal string
	// Secured says that it is.
	Secured bool
}

// labels gives all labels of the series but those of an outcome.
func (t Traffic) labels(own Workload) []Label {
	own.Principal = t.Principal
	source, destination := own, t.Peer
	reporter, policy := "source", "unknown" // which is the destination's to say
	if t.Inbound {
		source, destination, reporter, policy = t.Peer, own, "destination", "none"
		if t.Secured {
			policy = "mutual_tls"
		}
	}
	host, service, namespace := t.service()
	if destination.Namespace == "" && destination.Principal == "" && namespace != "unknown" {
		destination.Namespace = namespace
	}
	labels := append([]Label{{"reporter", reporter}}, source.labels("source")...)
	labels = append(labels, destination.labels("destination")...)
	return append(labels, Label{"destination_service", host}, Label{"destination_service_name", service},
		Label{"destination_service_namespace", namespace}, Label{"connection_security_policy", policy})
}

func (t Traffic) service() (host, name, namespace string) {
	if t.Host != "" {
		return t.Host, known(t.Service), known(t.Namespace)
	}
	parts := strings.Split(t.Cluster, "|")
	switch {
	case t.Cluster == "" || len(parts) == 4 && parts[3] == "":
		return "unknown", "unknown", "unknown"
	case len(parts) != 4:
		return t.Cluster, t.Cluster, "unknown"
	}
	host, name, namespace = parts[3], parts[3], "unknown"
	if service, rest, ok := strings.Cut(host, "."); ok && strings.Contains(rest, ".svc") {
		name = service
		namespace, _, _ = strings.Cut(rest, ".")
	}
	return host, name, namespace
}
