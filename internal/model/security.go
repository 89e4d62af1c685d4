package model

// MTLSMode is whether a server takes mutual TLS (Istio's PeerAuthentication).
type MTLSMode uint8

const (
	// MTLSPermissive takes mutual TLS and plaintext.
	MTLSPermissive MTLSMode = iota
	// MTLSStrict takes nothing but mutual TLS.
	MTLSStrict
	// MTLSDisable takes plaintext; TLS is the application's own.
	MTLSDisable
)

// String names the mode as PeerAuthentication does.
func (m MTLSMode) String() string {
	return [...]string{MTLSPermissive: "PERMISSIVE", MTLSStrict: "STRICT", MTLSDisable: "DISABLE"}[m]
}

// PeerAuthentication is what holds for a workload, once what is declared for the mesh, its namespace and itself is put together.
type PeerAuthentication struct {
	Mode   MTLSMode
	Ports  []PortMTLS // of the workload (not of a Service) that differ, sorted by number
	Origin Origin     // of what decided Mode; zero if nobody declared anything
}

// PortMTLS is the mode of one port.
type PortMTLS struct {
	Port   uint16
	Mode   MTLSMode
	Origin Origin
}

// For gives the mode of a port of the workload, and who says so. p may be nil: then nobody declared anything.
func (p *PeerAuthentication) For(port uint16) (MTLSMode, Origin) {
	if p == nil {
		return MTLSPermissive, Origin{}
	}
	for _, q := range p.Ports {
		if q.Port == port {
			return q.Mode, q.Origin
		}
	}
	return p.Mode, p.Origin
}
