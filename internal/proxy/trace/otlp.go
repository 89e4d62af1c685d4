package trace

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Kind is a span's place in a call (opentelemetry.proto.trace.v1.Span.SpanKind).
type Kind int

// The kinds that a proxy has.
const (
	Server Kind = 2
	Client Kind = 3
)

// Span is a span that has ended.
type Span struct {
	Context
	Parent     [8]byte // zero: it is the first of its trace
	Name       string
	Kind       Kind
	Start, End time.Time
	Failed     bool
	// Attributes are written by AppendString.
	Attributes []byte
}

// The numbers of the fields, of opentelemetry/proto/trace/v1/trace.proto, common.proto and resource.proto.
const (
	spanTraceID    = 1
	spanID         = 2
	spanState      = 3
	spanParent     = 4
	spanName       = 5
	spanKind       = 6
	spanStart      = 7
	spanEnd        = 8
	spanAttributes = 9
	spanStatus     = 15
	statusCode     = 3
	statusError    = 2
)

// Append writes the span as an element of ScopeSpans.
func (s *Span) Append(dst []byte) []byte {
	b := make([]byte, 0, 192+len(s.Name)+len(s.State)+len(s.Attributes))
	b = appendBytes(b, spanTraceID, s.TraceID[:])
	b = appendBytes(b, spanID, s.SpanID[:])
	if s.State != "" {
		b = appendBytes(b, spanState, []byte(s.State))
	}
	if s.Parent != [8]byte{} {
		b = appendBytes(b, spanParent, s.Parent[:])
	}
	b = appendBytes(b, spanName, []byte(s.Name))
	b = protowire.AppendVarint(protowire.AppendTag(b, spanKind, protowire.VarintType), uint64(s.Kind))
	b = protowire.AppendFixed64(protowire.AppendTag(b, spanStart, protowire.Fixed64Type), uint64(s.Start.UnixNano()))
	b = protowire.AppendFixed64(protowire.AppendTag(b, spanEnd, protowire.Fixed64Type), uint64(s.End.UnixNano()))
	b = append(b, s.Attributes...)
	if s.Failed {
		status := protowire.AppendVarint(protowire.AppendTag(nil, statusCode, protowire.VarintType), statusError)
		b = appendBytes(b, spanStatus, status)
	}
	return appendBytes(dst, 2, b)
}

// AppendString writes an attribute of a span.
func AppendString(dst []byte, key, value string) []byte {
	return appendBytes(dst, spanAttributes, keyValue(key, appendBytes(nil, 1, []byte(value))))
}

func keyValue(key string, value []byte) []byte {
	return appendBytes(appendBytes(make([]byte, 0, len(key)+len(value)+8), 1, []byte(key)), 2, value)
}

func appendBytes(dst []byte, n protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(dst, n, protowire.BytesType), v)
}

// request is an ExportTraceServiceRequest with spans of a service, which Append has written.
func request(service string, spans []byte) []byte {
	resource := appendBytes(nil, 1, keyValue("service.name", appendBytes(nil, 1, []byte(service))))
	resource = appendBytes(resource, 1, keyValue("telemetry.sdk.name", appendBytes(nil, 1, []byte("weft"))))
	scope := appendBytes(nil, 1, appendBytes(nil, 1, []byte("weft-proxy")))
	group := appendBytes(appendBytes(nil, 1, resource), 2, append(scope, spans...))
	return appendBytes(nil, 1, group)
}
