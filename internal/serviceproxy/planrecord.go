package serviceproxy

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"fmt"
	"hash/crc32"
	"io"
	"net/netip"
	"time"

	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// The plan on disk is a first line that names the version, then frames. A frame is the length of its payload and its CRC-32C, four bytes each,
// big endian, and a gob of one batch. The first batch is whole, the others say what changed since. Gob, because fields may come and go between
// versions of weft that way; endpoints are packed into bytes, because as values they would take three times as long.

const (
	planVersion   = "weft plan 1\n"
	frameHeader   = 8
	maxFrameBytes = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type batch struct {
	Written  time.Time
	Services []serviceRecord
}

type serviceRecord struct {
	Namespace, Name string
	Gone            bool
	HealthPort      uint16
	HealthLocal     int
	Frontends       []frontendRecord
}

type frontendRecord struct {
	Addr                        []byte
	Endpoints, Local, Serving   []byte // packed
	Family, Protocol, Kind      uint8
	Port                        uint16
	PortName                    string
	OnEmpty, OnEmptyLocal       uint8
	ExternalLocal               bool
	Affinity                    time.Duration
	Limited                     bool // SourceRanges is not nil
	SourceRanges                []string
	OriginKind, OriginNamespace string
	OriginName, OriginField     string
}

// encodeFrame appends a frame to a buffer.
func encodeFrame(buf *bytes.Buffer, b batch) error {
	start := buf.Len()
	buf.Write(make([]byte, frameHeader))
	if err := gob.NewEncoder(buf).Encode(b); err != nil {
		return fmt.Errorf("encode plan: %w", err)
	}
	frame := buf.Bytes()[start:]
	payload := frame[frameHeader:]
	if len(payload) > maxFrameBytes {
		return fmt.Errorf("encode plan: %d bytes are too many", len(payload))
	}
	binary.BigEndian.PutUint32(frame, uint32(len(payload)))
	binary.BigEndian.PutUint32(frame[4:], crc32.Checksum(payload, castagnoli))
	return nil
}

// decodeFrame reads the next frame and gives what follows it; io.EOF if there is none.
func decodeFrame(data []byte) (b batch, rest []byte, err error) {
	if len(data) == 0 {
		return b, nil, io.EOF
	}
	if len(data) < frameHeader {
		return b, nil, io.ErrUnexpectedEOF
	}
	size, sum := binary.BigEndian.Uint32(data), binary.BigEndian.Uint32(data[4:])
	data = data[frameHeader:]
	if uint64(size) > uint64(len(data)) {
		return b, nil, io.ErrUnexpectedEOF
	}
	payload := data[:size]
	if crc32.Checksum(payload, castagnoli) != sum {
		return b, nil, fmt.Errorf("checksum is wrong")
	}
	if err := gob.NewDecoder(bytes.NewReader(payload)).Decode(&b); err != nil {
		return b, nil, err
	}
	return b, data[size:], nil
}

func recordOf(name model.ServiceName, svc *plan.Service) serviceRecord {
	r := serviceRecord{Namespace: name.Namespace, Name: name.Name, Gone: svc == nil}
	if svc == nil {
		return r
	}
	r.HealthPort, r.HealthLocal = svc.HealthCheck.Port, svc.HealthCheck.LocalEndpoints
	r.Frontends = make([]frontendRecord, len(svc.Frontends))
	for i, f := range svc.Frontends {
		r.Frontends[i] = frontendRecord{
			Addr: f.Addr.AsSlice(), Endpoints: pack(f.Endpoints), Local: pack(f.Local), Serving: pack(f.Serving),
			Family: uint8(f.Family), Protocol: uint8(f.Protocol), Kind: uint8(f.Kind), Port: f.Port, PortName: f.PortName,
			OnEmpty: uint8(f.OnEmpty), OnEmptyLocal: uint8(f.OnEmptyLocal), ExternalLocal: f.ExternalLocal, Affinity: f.Affinity,
			Limited:    f.SourceRanges != nil,
			OriginKind: f.Origin.Kind, OriginNamespace: f.Origin.Namespace, OriginName: f.Origin.Name, OriginField: f.Origin.Field,
		}
		for _, prefix := range f.SourceRanges {
			r.Frontends[i].SourceRanges = append(r.Frontends[i].SourceRanges, prefix.String())
		}
	}
	return r
}

// service reads a record back; nil is a Service that is gone.
func (r *serviceRecord) service() (*plan.Service, error) {
	if r.Gone {
		return nil, nil
	}
	svc := &plan.Service{
		Name:        model.ServiceName{Namespace: r.Namespace, Name: r.Name},
		HealthCheck: plan.HealthCheck{Port: r.HealthPort, LocalEndpoints: r.HealthLocal},
	}
	for i := range r.Frontends {
		f, err := r.Frontends[i].frontend(svc.Name)
		if err != nil {
			return nil, fmt.Errorf("Service %v frontend %d: %w", svc.Name, i, err)
		}
		svc.Frontends = append(svc.Frontends, f)
	}
	return svc, nil
}

func (r *frontendRecord) frontend(svc model.ServiceName) (*plan.Frontend, error) {
	f := &plan.Frontend{
		Key:     plan.Key{Family: plan.Family(r.Family), Protocol: model.Protocol(r.Protocol), Port: r.Port},
		Kind:    plan.Kind(r.Kind),
		Service: svc, PortName: r.PortName,
		OnEmpty: plan.Verdict(r.OnEmpty), OnEmptyLocal: plan.Verdict(r.OnEmptyLocal), ExternalLocal: r.ExternalLocal, Affinity: r.Affinity,
		Origin: model.Origin{Object: finding.Object{Kind: r.OriginKind, Namespace: r.OriginNamespace, Name: r.OriginName}, Field: r.OriginField},
	}
	if len(r.Addr) > 0 {
		var ok bool
		if f.Addr, ok = netip.AddrFromSlice(r.Addr); !ok || plan.FamilyOf(f.Addr) != f.Family {
			return nil, fmt.Errorf("address of %d bytes for family %d", len(r.Addr), r.Family)
		}
	}
	if f.Family != plan.IPv4 && f.Family != plan.IPv6 || f.Kind > plan.NodePort || f.OnEmpty > plan.Drop || f.OnEmptyLocal > plan.Drop {
		return nil, fmt.Errorf("unknown family %d, kind %d or verdict %d, %d", r.Family, r.Kind, r.OnEmpty, r.OnEmptyLocal)
	}
	var err error
	for _, list := range []struct {
		to   *[]netip.AddrPort
		from []byte
	}{{&f.Endpoints, r.Endpoints}, {&f.Local, r.Local}, {&f.Serving, r.Serving}} {
		if *list.to, err = unpack(list.from); err != nil {
			return nil, err
		}
	}
	if r.Limited {
		f.SourceRanges = make([]netip.Prefix, len(r.SourceRanges))
		for i, s := range r.SourceRanges {
			if f.SourceRanges[i], err = netip.ParsePrefix(s); err != nil {
				return nil, err
			}
		}
	}
	return f, nil
}

// pack writes each endpoint as the length of its address, the address, and the port.
func pack(list []netip.AddrPort) []byte {
	if len(list) == 0 {
		return nil
	}
	out := make([]byte, 0, len(list)*(1+list[0].Addr().BitLen()/8+2))
	for _, e := range list {
		if a := e.Addr(); a.Is4() {
			b := a.As4()
			out = append(append(out, 4), b[:]...)
		} else {
			b := a.As16()
			out = append(append(out, 16), b[:]...)
		}
		out = binary.BigEndian.AppendUint16(out, e.Port())
	}
	return out
}

func unpack(b []byte) ([]netip.AddrPort, error) {
	if len(b) == 0 {
		return nil, nil
	}
	out := make([]netip.AddrPort, 0, len(b)/7+1)
	for len(b) > 0 {
		size := int(b[0])
		if len(b) < 1+size+2 {
			return nil, fmt.Errorf("endpoints end after %d bytes of one", len(b))
		}
		addr, ok := netip.AddrFromSlice(b[1 : 1+size])
		if !ok {
			return nil, fmt.Errorf("endpoint address of %d bytes", size)
		}
		out = append(out, netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b[1+size:])))
		b = b[1+size+2:]
	}
	return out, nil
}
