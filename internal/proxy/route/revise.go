package route

import (
	"fmt"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/proxy/field"
)

// Revise is [Compile] of a RouteConfiguration as it came, which takes over from the table before it what says the same: a virtual host with the same
// bytes, if what stands around the virtual hosts is the same too. What an edit costs goes with what was edited, not with the size of the table.
// before may be nil.
func Revise(raw []byte, before *Table, o Options) (*Table, error) {
	around, hosts, err := split(raw)
	if err != nil {
		return nil, err
	}
	rc := &routev3.RouteConfiguration{}
	if err := proto.Unmarshal(around, rc); err != nil {
		return nil, err
	}
	c, s, t, err := begin(rc, o)
	if err != nil {
		return nil, err
	}
	t.around, t.compiled = string(around), make(map[string]*VirtualHost, len(hosts))
	var known map[string]*VirtualHost
	if before != nil && before.around == t.around {
		known = before.compiled
	}
	for i, host := range hosts {
		v := known[string(host)]
		if v == nil {
			vh := &routev3.VirtualHost{}
			if err := proto.Unmarshal(host, vh); err != nil {
				return nil, field.At("virtual_hosts", i, err)
			}
			if v, err = c.virtualHost(vh, s); err != nil {
				return nil, field.At("virtual_hosts", i, err)
			}
		}
		t.compiled[string(host)] = v
		t.VirtualHosts = append(t.VirtualHosts, v)
	}
	if err := t.finish(); err != nil {
		return nil, err
	}
	return t, nil
}

// split takes a RouteConfiguration apart without reading it: its virtual hosts, and all the rest.
func split(raw []byte) (around []byte, hosts [][]byte, err error) {
	const virtualHosts = protowire.Number(2)
	for len(raw) > 0 {
		number, kind, tag := protowire.ConsumeTag(raw)
		if tag < 0 {
			return nil, nil, fmt.Errorf("route configuration: %w", protowire.ParseError(tag))
		}
		value := protowire.ConsumeFieldValue(number, kind, raw[tag:])
		if value < 0 {
			return nil, nil, fmt.Errorf("route configuration: %w", protowire.ParseError(value))
		}
		if number == virtualHosts && kind == protowire.BytesType {
			host, _ := protowire.ConsumeBytes(raw[tag:])
			hosts = append(hosts, host)
		} else {
			around = append(around, raw[:tag+value]...)
		}
		raw = raw[tag+value:]
	}
	return around, hosts, nil
}
