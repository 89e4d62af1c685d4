package hostile

import (
	"testing"

	"github.com/weftmesh/weft/test/h2spec"
)

// h2spec judges the proxy's own listeners, with an endpoint behind them. That in clear text knows no other
// version: what does not begin as HTTP/2 would be HTTP/1 there, and be answered.
func TestH2spec(t *testing.T) {
	b := listen(t, fine, nil)
	e := start(t, []listener{{name: "plain", options: "codec_type: HTTP2"}, {name: "tls", tls: true}}, cluster("web", "", b.addr()))
	t.Run("plain", func(t *testing.T) { h2spec.Run(t, h2spec.Target{Addr: e.at("plain")}) })
	t.Run("tls", func(t *testing.T) { h2spec.Run(t, h2spec.Target{Addr: e.at("tls"), TLS: true}) })
}
